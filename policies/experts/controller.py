"""What an expert is in one world: from the robot's numbers and the goal as it is seen to where to move."""

import math
from typing import Protocol

from hwm_env.reference import robot
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY, Float32Array
from policies.following import velocity_for

TURN_LIMIT_RAD_S = 0.6
SPEED_LIMIT_M_S = 0.5
"""As fast as the training data drive."""


class Controller(Protocol):
    """Controls one robot for one episode."""

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """Where the robot shall move in the next clip.

        Args:
            state: its numbers, [25].
            goal: what the task shows of the goal.

        Returns:
            float32 [25], physical units.
        """
        ...


def drive(state: Float32Array, *, turn_rad: float = 0.0, way_m: float = 0.0) -> Float32Array:
    """The rest pose with wheels that turn so far and go so far in one clip, as nearly as they can."""
    numbers = {
        "angular_velocity": _velocity(state, ANGULAR_VELOCITY, turn_rad, TURN_LIMIT_RAD_S),
        "linear_velocity": _velocity(state, LINEAR_VELOCITY, way_m, SPEED_LIMIT_M_S),
    }
    return robot.pose(numbers)


def angle(cos: float, sin: float) -> float:
    """From how goals show angles, in -pi..pi."""
    return math.atan2(sin, cos)


def _velocity(state: Float32Array, column: int, way: float, limit: float) -> float:
    return velocity_for(way, float(state[column]), float(robot.RATE_LIMITS[column]), limit)
