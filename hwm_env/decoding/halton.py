"""A fixed order of a clip's tokens in which every prefix is spread evenly over the clip."""

from functools import lru_cache

import torch
from torch import Tensor

BASES = (5, 2, 3)
"""Bases for the latents, the rows and the columns of the grid."""


def radical_inverse(indices: Tensor, base: int) -> Tensor:
    """Mirrors the digits of whole numbers at the radix point: int [N] to float64 [N] in [0, 1)."""
    result = torch.zeros(indices.shape, dtype=torch.float64)
    rest, scale = indices.clone(), 1.0
    while rest.any():
        scale /= base
        result += scale * (rest % base)
        rest //= base
    return result


@lru_cache(maxsize=16)
def halton_order(latents: int, rows: int, columns: int) -> Tensor:
    """Returns the order in which a 3D Halton sequence first meets each token.

    Follows Besnier et al., "Halton Scheduler for Masked Generative Image Transformer" (arXiv 2503.17076) on the grid; a
    third axis spreads successive reveals over the latents too.

    Returns:
        int64 [latents * rows * columns], a permutation of flat token indices, on the CPU.
    """
    sizes = (latents, rows, columns)
    num_tokens = latents * rows * columns
    count = 4 * num_tokens
    while True:
        points = torch.arange(1, count + 1)
        flat = torch.zeros(count, dtype=torch.long)
        for size, base in zip(sizes, BASES, strict=True):
            flat = flat * size + (radical_inverse(points, base) * size).long()
        first_met = torch.full((num_tokens,), count).scatter_reduce(0, flat, points - 1, "amin")
        if (first_met < count).all():
            return first_met.argsort()
        count *= 2
