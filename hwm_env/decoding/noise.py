"""Random numbers that belong to a world: a function of its seed and its step, and of nothing else."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def world_uniforms(seeds: Sequence[int], step_indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Draws uniform numbers for each world of a batch.

    Philox (Salmon et al., 2011) is keyed by (seed, env step), so that a world carries no generator state, can be forked
    for free, and gets the same numbers alone as in any batch.

    Args:
        seeds: a seed for each world, 0..2^63-1.
        step_indices: the env step that each world is about to take.
        shape: numbers wanted a world.

    Returns:
        float32 [B, *shape] in [0, 1), on the CPU.
    """
    rows = [
        np.random.Generator(np.random.Philox(key=np.array([seed, step], dtype=np.uint64))).random(
            shape, dtype=np.float32
        )
        for seed, step in zip(seeds, step_indices, strict=True)
    ]
    return torch.from_numpy(np.stack(rows))
