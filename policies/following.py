"""Computes chunks that move to target values at the robot's largest rates."""

import numpy as np
import numpy.typing as npt

from hwm_env.reference.kinematics import LARGEST_CHANGE
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, Float32Array

_CANDIDATES = 121
"""Number of velocities that `velocity_for` compares."""


def follow(states: Float32Array, targets: Float32Array) -> Float32Array:
    """Returns chunks that move from states to targets at the robot's largest rates, and then hold them.

    Args:
        states: present states of B robots, [B, 25].
        targets: target values, [B, 25].

    Returns:
        float32 [B, 17, 25].
    """
    frames = np.arange(1, FRAMES_PER_CLIP + 1, dtype=np.float32)[:, None]
    reach = frames * LARGEST_CHANGE
    steps = np.clip((targets - states)[:, None], -reach, reach)
    return np.asarray(states[:, None] + steps, np.float32)


def velocity_for(distance: float, now: float, acceleration: float, limit: float) -> float:
    """Returns the target velocity whose pursuit for one clip covers a distance most nearly.

    Args:
        distance: distance to cover in the clip (m or rad).
        now: present velocity (m/s or rad/s).
        acceleration: largest acceleration (m/s^2 or rad/s^2).
        limit: largest absolute velocity.
    """
    velocities: npt.NDArray[np.float64] = np.linspace(-limit, limit, _CANDIDATES)
    reach = acceleration / FRAME_RATE_HZ * np.arange(1, FRAMES_PER_CLIP + 1)
    distances = (now + np.clip(velocities[:, None] - now, -reach, reach)).sum(axis=1) / FRAME_RATE_HZ
    return float(velocities[np.abs(distances - distance).argmin()])
