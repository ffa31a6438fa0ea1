"""Variations of recorded actions, which a world that responds to its actions must tell from the recorded ones."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.statistics import ActionStatistics
from hwm_env.types import ACTION_NAMES, ANGULAR_VELOCITY, LINEAR_VELOCITY, Int64Array

_SIGN_CHANGES: Final = ("hip_yaw", "hip_roll", "ankle_roll", "angular_velocity")
"""Numbers that change their sign in a mirror. Those of the arms do not: left and right are mirror images of each other
(reference/robot.py)."""


def mirrored(chunks: Tensor) -> Tensor:
    """Mirrors actions [..., 25]: exchanges left and right arm, and reverses turns."""
    names = [_other_side(name) for name in ACTION_NAMES]
    signs = torch.tensor([-1.0 if name in _SIGN_CHANGES else 1.0 for name in ACTION_NAMES])
    return chunks[..., [ACTION_NAMES.index(name) for name in names]] * signs


def shuffled(chunks: Tensor, seed: int) -> Tensor:
    """Exchanges the chunks of windows, [N, 17, 25], N at least 2, so that no window keeps its own."""
    return chunks[torch.from_numpy(derangement(len(chunks), seed))]


def redirected(actions: Tensor, statistics: ActionStatistics, seed: int) -> Tensor:
    """Carries out another window's motion from this window's state; unlike shuffled actions, it is physically possible.

    Joints and hands change as much as in the other window, and velocities become those of the other window, within the
    bounds of the training data and no faster than its largest changes.

    Args:
        actions: actions of N windows, float32 [N, T, 17, 25], T at least 2; the last chunk is that of the next clip.
        statistics: statistics of the training data's actions.
        seed: seed of the shuffle.

    Returns:
        float32 [N, 17, 25].
    """
    other = torch.from_numpy(derangement(len(actions), seed))
    now = actions[:, -2, -1]
    wanted = actions[other, -1] + (now - now[other])[:, None]
    velocities = [LINEAR_VELOCITY, ANGULAR_VELOCITY]
    wanted[:, :, velocities] = actions[other, -1][:, :, velocities]
    low, high, fastest = map(torch.tensor, (statistics.low, statistics.high, statistics.max_change))
    chunks = torch.empty_like(wanted)
    for frame in range(wanted.shape[1]):
        now = now + (wanted[:, frame].clamp(low, high) - now).clamp(-fastest, fastest)
        chunks[:, frame] = now
    return chunks


def derangement(count: int, seed: int) -> Int64Array:
    """Returns a random cyclic permutation of `count` indices, at least 2, which keeps none in its place."""
    order = np.random.default_rng(seed).permutation(count)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    return other


def variations(actions: Tensor, statistics: ActionStatistics, seed: int) -> Mapping[str, Tensor]:
    """Returns the next clip's actions and five variations of them.

    Args:
        actions: actions of N windows, float32 [N, T, 17, 25]; the last chunk is that of the next clip.
        statistics: statistics of the training data's actions.
        seed: seed of the shuffles.

    Returns:
        By name, float32 [N, 17, 25]: `true` (the recorded ones), `shuffled` (another window's), `redirected`, `zeroed`
        (every number 0), `mirrored` and `delayed` (those of the clip before).
    """
    chunks = actions[:, -1]
    made: dict[str, Callable[[], Tensor]] = {
        "true": lambda: chunks,
        "shuffled": lambda: shuffled(chunks, seed),
        "redirected": lambda: redirected(actions, statistics, seed),
        "zeroed": lambda: torch.zeros_like(chunks),
        "mirrored": lambda: mirrored(chunks),
        "delayed": lambda: actions[:, -2],
    }
    return {name: make() for name, make in made.items()}


def _other_side(name: str) -> str:
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name
