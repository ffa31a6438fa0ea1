"""From where an action shall lead to the chunk that leads there, no faster than the robot can."""

import numpy as np
import numpy.typing as npt

from hwm_env.reference.kinematics import LARGEST_CHANGE
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, Float32Array

_CANDIDATES = 121
"""Velocities among which `velocity_for` chooses."""


def follow(states: Float32Array, targets: Float32Array) -> Float32Array:
    """Chunks that move from the present numbers to targets at the robot's largest rates, and then stay there.

    Args:
        states: present numbers of B robots, [B, 25].
        targets: where they shall lead, [B, 25].

    Returns:
        float32 [B, 17, 25].
    """
    frames = np.arange(1, FRAMES_PER_CLIP + 1, dtype=np.float32)[:, None]
    reach = frames * LARGEST_CHANGE
    steps = np.clip((targets - states)[:, None], -reach, reach)
    return np.asarray(states[:, None] + steps, np.float32)


def velocity_for(way: float, now: float, acceleration: float, limit: float) -> float:
    """The velocity whose pursuit for one clip leads nearest to a way.

    Args:
        way: to go in the clip; m, or rad.
        now: present velocity, a second.
        acceleration: largest change of the velocity, a second squared.
        limit: of the velocity's size.
    """
    velocities: npt.NDArray[np.float64] = np.linspace(-limit, limit, _CANDIDATES)
    reach = acceleration / FRAME_RATE_HZ * np.arange(1, FRAMES_PER_CLIP + 1)
    ways = (now + np.clip(velocities[:, None] - now, -reach, reach)).sum(axis=1) / FRAME_RATE_HZ
    return float(velocities[np.abs(ways - way).argmin()])
