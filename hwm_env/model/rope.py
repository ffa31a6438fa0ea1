"""Rotary position embedding (Su et al., arXiv 2104.09864) in one and two dimensions.

A pair is channel i of a head's first half and channel i of its second half: the halves are contiguous, which is
cheaper than adjacent pairs. Weights made for adjacent pairs serve after a permutation of their query and key rows.
"""

import torch
from torch import Tensor

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine of the angles by which channel pairs turn."""


def axial_angles(positions: Tensor, num_pairs: int, base: float | None) -> Tensor:
    """Angles by which each channel pair turns.

    Args:
        positions: number [..., N].
        num_pairs: channel pairs that this axis turns.
        base: pair i turns by position / base^(i / num_pairs); None: nothing turns.

    Returns:
        float32 [..., N, num_pairs], radians.
    """
    if base is None:
        return torch.zeros(*positions.shape, num_pairs, device=positions.device)
    exponents = torch.arange(num_pairs, device=positions.device, dtype=torch.float32) / num_pairs
    return positions.float()[..., None] * base**-exponents


def temporal_angles(times: Tensor, head_width: int, base: float | None) -> Tensor:
    """Angles for places in time [..., N]: float32 [..., N, head_width / 2]."""
    return axial_angles(times, head_width // 2, base)


def spatial_angles(rows: int, columns: int, head_width: int, base: float | None) -> Tensor:
    """Angles for a grid in row-major order: float32 [rows * columns, head_width / 2].

    The first half of the pairs turns with the row, the second with the column.
    """
    row_S, column_S = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    pairs = head_width // 4
    return torch.cat(
        [axial_angles(row_S.flatten(), pairs, base), axial_angles(column_S.flatten(), pairs, base)], dim=-1
    )


def rotation(angles: Tensor) -> Rotation:
    """Cosine and sine of angles [..., N, pairs]."""
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos_sin: Rotation) -> Tensor:
    """Turns the channel pairs of x [..., N, 2 * pairs] by the angles behind `cos_sin` (see `rotation`)."""
    cos, sin = (part.to(x.dtype) for part in cos_sin)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
