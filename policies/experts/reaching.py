"""The controller of reach-cube: drives to the table, then moves the joints so that a hand reaches the cube."""

import math
from functools import cache
from typing import Final

import numpy as np

from hwm_env.reference import robot
from hwm_env.reference.body import quantities
from hwm_env.tasks.room_task import DISTANCE_SCALE_M
from hwm_env.types import ACTION_NAMES, Float32Array, Float64Array
from policies.experts.driving import ApproachController

_WITHIN_REACH_M: Final = 0.12
"""The robot stops driving if some posture brings a hand this near to the cube."""
_POSTURES: Final = 6000
"""Random postures per arm."""
_ARM: Final = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow_pitch", "elbow_yaw")
_LEGS: Final = ("hip_yaw", "hip_pitch", "knee_pitch", "ankle_pitch")
_HANDS: Final = {"left": slice(9, 12), "right": slice(12, 15)}
"""Columns of each hand's position in `quantities`."""


class ReachCubeController:
    """Controls reach-cube, with the hand that comes nearest.

    Args:
        rng: see ApproachController.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._approach = ApproachController(rng)
        self._is_in_reach = False

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """Returns the target values of the next clip; see Controller."""
        cube_m = goal[:3].astype(np.float64) * DISTANCE_SCALE_M
        posture, gap_m = nearest_posture(cube_m)
        bearing_rad, distance_m = math.atan2(cube_m[1], cube_m[0]), math.hypot(cube_m[0], cube_m[1])
        self._is_in_reach |= gap_m <= _WITHIN_REACH_M
        if self._is_in_reach:
            return posture
        return self._approach.target(state, bearing_rad, distance_m)


def nearest_posture(point_m: Float64Array) -> tuple[Float32Array, float]:
    """Returns the posture that brings a hand nearest to a point.

    Args:
        point_m: position ahead, to the left and up from the middle of the base on the floor (m), [3].

    Returns:
        The posture with wheels at rest, float32 [25], and the remaining distance (m).
    """
    postures, hands_m = _postures()
    gaps = np.linalg.norm(hands_m - point_m, axis=1)
    best = int(gaps.argmin())
    return postures[best].copy(), float(gaps[best])


@cache
def _postures() -> tuple[Float32Array, Float64Array]:
    """Returns random postures of one arm and the legs, [N, 25], and the hand's position in the robot's frame, [N, 3].

    The joints are uniform within their limits, with the same draws for both sides.
    """
    rng = np.random.default_rng(0)
    shares = rng.uniform(size=(_POSTURES, len(_ARM) + len(_LEGS)))
    postures, hands = [], []
    for side, hand in _HANDS.items():
        names = [*(f"{side}_{joint}" for joint in _ARM), *_LEGS]
        columns = [ACTION_NAMES.index(name) for name in names]
        low, high = robot.ACTION_LOW[columns], robot.ACTION_HIGH[columns]
        tried = np.tile(robot.REST_POSE, (_POSTURES, 1))
        tried[:, columns] = low + shares * (high - low)
        postures.append(tried)
        hands.append(quantities(np.zeros((_POSTURES, 3)), tried)[:, hand])
    return np.concatenate(postures), np.concatenate(hands)
