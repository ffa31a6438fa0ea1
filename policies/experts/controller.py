"""The protocol of an expert's controller: from a robot's state and its observed goal to target values."""

import math
from typing import Protocol

from hwm_env.reference import robot
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY, Float32Array
from policies.following import velocity_for

TURN_LIMIT_RAD_S = 0.6
SPEED_LIMIT_M_S = 0.5
"""The largest speed in the training data."""


class Controller(Protocol):
    """Controls one robot for one episode."""

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """Returns the target values of the next clip.

        Args:
            state: state of the robot, [25].
            goal: the goal as the task's observation encodes it.

        Returns:
            float32 [25], physical units.
        """
        ...


def drive(state: Float32Array, *, turn_rad: float = 0.0, distance_m: float = 0.0) -> Float32Array:
    """Returns the rest pose with the wheels' velocities that most nearly turn and drive this far in one clip, [25]."""
    numbers = {
        "angular_velocity": _velocity(state, ANGULAR_VELOCITY, turn_rad, TURN_LIMIT_RAD_S),
        "linear_velocity": _velocity(state, LINEAR_VELOCITY, distance_m, SPEED_LIMIT_M_S),
    }
    return robot.pose(numbers)


def angle(cos: float, sin: float) -> float:
    """Returns the angle (rad, -pi..pi) that a goal encodes by its cosine and sine."""
    return math.atan2(sin, cos)


def _velocity(state: Float32Array, index: int, distance: float, limit: float) -> float:
    return velocity_for(distance, float(state[index]), float(robot.RATE_LIMITS[index]), limit)
