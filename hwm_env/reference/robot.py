"""Facts of the EVE-like robot: joint limits, rates and rest pose, in the order of `ACTION_NAMES`.

Signs: every pitch is positive towards "forward" (leg and neck lean or look down, arms and elbows rise), rolls of the
arms are positive away from the body and yaws of the arms are positive towards its middle, so that equal numbers left
and right are mirror images. Turning left is positive.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from hwm_env.types import ACTION_NAMES, NUM_JOINTS, Float32Array

BASE_RADIUS_M: Final = 0.35
"""Radius of the wheeled base, a disc for collisions."""
CAMERA_FOV_DEG: Final = 90.0
"""Field of view of the square image, in height and in width."""

_ARM_LIMITS: Final = {
    "shoulder_pitch": (-0.5, 2.2),
    "shoulder_roll": (-0.1, 1.2),
    "shoulder_yaw": (-0.8, 0.8),
    "elbow_pitch": (0.0, 2.2),
    "elbow_yaw": (-1.0, 1.0),
    "wrist_pitch": (-0.8, 0.8),
    "wrist_roll": (-0.8, 0.8),
}
_LIMITS: Final = {
    "hip_yaw": (-0.6, 0.6),
    "hip_roll": (-0.15, 0.15),
    "hip_pitch": (-0.15, 0.45),
    "knee_pitch": (0.0, 0.9),
    "ankle_roll": (-0.1, 0.1),
    "ankle_pitch": (-0.1, 0.45),
    **{f"left_{joint}": limits for joint, limits in _ARM_LIMITS.items()},
    **{f"right_{joint}": limits for joint, limits in _ARM_LIMITS.items()},
    "neck_pitch": (-0.4, 0.8),
    "left_hand_closure": (0.0, 1.0),
    "right_hand_closure": (0.0, 1.0),
    "linear_velocity": (-0.8, 0.8),
    "angular_velocity": (-0.8, 0.8),
}
_LEG_RATE_RAD_S: Final = 0.6
_ARM_RATE_RAD_S: Final = 1.5
_OTHER_RATES: Final = {
    "neck_pitch": 0.8,
    "left_hand_closure": 2.0,
    "right_hand_closure": 2.0,
    "linear_velocity": 1.0,
    "angular_velocity": 2.0,
}


def _constant(values: list[float] | list[tuple[float, float]]) -> Float32Array:
    array = np.array(values, np.float32)
    array.setflags(write=False)
    return array


def _rate(name: str) -> float:
    if name in _OTHER_RATES:
        return _OTHER_RATES[name]
    return _ARM_RATE_RAD_S if name.startswith(("left_", "right_")) else _LEG_RATE_RAD_S


JOINT_LIMITS_RAD: Final[Float32Array] = _constant([_LIMITS[name] for name in ACTION_NAMES[:NUM_JOINTS]])
"""Lowest and highest angle of each joint, [21, 2]."""
ACTION_LOW: Final[Float32Array] = _constant([_LIMITS[name][0] for name in ACTION_NAMES])
"""Lowest value of each action number, [25]."""
ACTION_HIGH: Final[Float32Array] = _constant([_LIMITS[name][1] for name in ACTION_NAMES])
"""Highest value of each action number, [25]."""
RATE_LIMITS: Final[Float32Array] = _constant([_rate(name) for name in ACTION_NAMES])
"""Largest change per second of each action number, [25]; for the two velocities that is an acceleration."""

_REST: Final = {
    "hip_pitch": 0.1,
    "knee_pitch": 0.2,
    "ankle_pitch": 0.1,
    "left_shoulder_roll": 0.12,
    "left_elbow_pitch": 0.35,
    "right_shoulder_roll": 0.12,
    "right_elbow_pitch": 0.35,
    "neck_pitch": 0.2,
}


def pose(numbers: Mapping[str, float]) -> Float32Array:
    """Returns the rest pose with some numbers replaced.

    Args:
        numbers: new values by action name.

    Returns:
        An action, float32 [25].
    """
    merged = {**_REST, **numbers}
    return np.array([merged.get(name, 0.0) for name in ACTION_NAMES], np.float32)


REST_POSE: Final[Float32Array] = pose({})
"""Standing still with hanging arms, open hands and a slightly lowered gaze, [25]."""
REST_POSE.setflags(write=False)
