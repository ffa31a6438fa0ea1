"""Random numbers of a batch's rows, which depend only on a row's seed and env step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hwm_env.draws import seeds_at, uniform


def row_uniforms(
    seeds: Sequence[int], step_indices: Sequence[int], shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> Tensor:
    """Draws uniform numbers for each row of a batch.

    They are functions of seed, env step and index, so that states carry no generator, forks are free, and a row gets
    the same numbers alone as in any batch, on every device.

    Args:
        seeds: a seed for each row, 0..2^63-1.
        step_indices: the env step that each row is about to take.
        shape: shape of the numbers of one row.
        device: device of the numbers.

    Returns:
        float32 [B, *shape] in [0, 1), in multiples of 2^-24.
    """
    # Copied without waiting for what a GPU still computes.
    keys = torch.tensor((tuple(seeds), tuple(step_indices)), dtype=torch.int64).to(device, non_blocking=True)
    return uniform(seeds_at(*keys), 0, shape)
