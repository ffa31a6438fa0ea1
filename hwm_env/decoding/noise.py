"""Random numbers of a batch's rows, which depend only on a row's seed and env step."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def row_uniforms(seeds: Sequence[int], step_indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Draws uniform numbers for each row of a batch.

    Philox (Salmon et al., 2011) is keyed by (seed, env step), so that states carry no generator, forks are free, and a
    row gets the same numbers alone as in any batch.

    Args:
        seeds: a seed for each row, 0..2^63-1.
        step_indices: the env step that each row is about to take.
        shape: shape of the numbers of one row.

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
