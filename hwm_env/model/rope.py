"""Rotary position embedding (Su et al., arXiv 2104.09864) in one and two dimensions.

A pair is channel i of a head's first half and channel i of its second half: contiguous halves are cheaper than
adjacent pairs. Weights trained with adjacent pairs work after a permutation of their query and key channels.
"""

import torch
from torch import Tensor

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine of the angles by which channel pairs rotate."""


def axial_angles(positions: Tensor, num_pairs: int, base: float | None) -> Tensor:
    """Returns the angle by which each channel pair rotates.

    Args:
        positions: number [..., N].
        num_pairs: channel pairs that this axis rotates.
        base: pair i rotates by position / base^(i / num_pairs); `None`: nothing rotates.

    Returns:
        float32 [..., N, num_pairs], radians.
    """
    if base is None:
        return torch.zeros(*positions.shape, num_pairs, device=positions.device)
    exponents = torch.arange(num_pairs, device=positions.device, dtype=torch.float32) / num_pairs
    return positions.float()[..., None] * base**-exponents


def temporal_angles(times: Tensor, head_width: int, base: float | None) -> Tensor:
    """Returns the angles for places in time [..., N]: float32 [..., N, head_width / 2]."""
    return axial_angles(times, head_width // 2, base)


def spatial_angles(rows: int, columns: int, head_width: int, base: float | None) -> Tensor:
    """Returns the angles for a grid in row-major order: float32 [rows * columns, head_width / 2].

    The first half of the pairs rotates with the grid's row, the second with its column.
    """
    row_S, column_S = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    pairs = head_width // 4
    return torch.cat(
        [axial_angles(row_S.flatten(), pairs, base), axial_angles(column_S.flatten(), pairs, base)], dim=-1
    )


def rotation(angles: Tensor) -> Rotation:
    """Returns cosine and sine of angles [..., N, pairs]."""
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos_sin: Rotation) -> Tensor:
    """Rotates the channel pairs of x [..., N, 2 * pairs] by the angles whose `rotation` is `cos_sin`."""
    cos, sin = (part.to(x.dtype) for part in cos_sin)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
