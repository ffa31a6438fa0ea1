"""Actions that are not the recorded ones: what a world must tell from them if it listens to its actions."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.statistics import ActionStatistics
from hwm_env.types import ACTION_NAMES, ANGULAR_VELOCITY, LINEAR_VELOCITY, Int64Array

_TURNED_AROUND: Final = ("hip_yaw", "hip_roll", "ankle_roll", "angular_velocity")
"""Change their sign in a mirror. The arms' numbers do not: left and right are mirror images (reference/robot.py)."""


def mirrored(chunks: Tensor) -> Tensor:
    """What the robot in a mirror does, [..., 25]: left and right arm exchanged, turns the other way round."""
    names = [_other_side(name) for name in ACTION_NAMES]
    signs = torch.tensor([-1.0 if name in _TURNED_AROUND else 1.0 for name in ACTION_NAMES])
    return chunks[..., [ACTION_NAMES.index(name) for name in names]] * signs


def shuffled(chunks: Tensor, seed: int) -> Tensor:
    """Those of other windows, [N, 17, 25], N at least 2."""
    return chunks[torch.from_numpy(derangement(len(chunks), seed))]


def redirected(actions: Tensor, statistics: ActionStatistics, seed: int) -> Tensor:
    """What another window's robot does, begun from where this one's is: possible in every frame, as shuffled ones are
    not.

    Joints and hands change as much as the other's, velocities become the other's, all within the bounds of the training
    data and no faster than anything there.

    Args:
        actions: of N windows, the last chunk is the next clip's, float32 [N, T, 17, 25], T at least 2.
        statistics: of the training data.
        seed: of the shuffle.

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
    """A random cyclic order of `count` things, at least 2: nobody keeps its own."""
    order = np.random.default_rng(seed).permutation(count)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    return other


def variations(actions: Tensor, statistics: ActionStatistics, seed: int) -> Mapping[str, Tensor]:
    """The next clip's actions, and five others in their place.

    Args:
        actions: of N windows, the last chunk is the next clip's, float32 [N, T, 17, 25].
        statistics: of the training data.
        seed: of the shuffle.

    Returns:
        float32 [N, 17, 25] each. `true`; `shuffled`: another window's; `redirected`; `zeroed`: every number 0;
        `mirrored`; `delayed`: those of the clip before.
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
