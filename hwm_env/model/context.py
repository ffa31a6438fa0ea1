"""The inputs of a pass that its tokens do not change: prepared once, shared by all decoding steps of a clip."""

from typing import NamedTuple

from torch import Tensor

from hwm_env.model.attention import KeyValues, Places
from hwm_env.model.block import ScalesShifts


class PassContext(NamedTuple):
    """All inputs of a pass except the video's tokens; the K decoding steps of a clip share it."""

    video_offset: Tensor
    """Added to the token vectors, [B, N, S, D] or with axes of size 1."""
    actions: Tensor
    """Action vectors [B, N, D]."""
    places: Places
    """The N places in time."""
    scales_shifts: tuple[ScalesShifts | None, ...]
    """For each layer, scales and shifts of the block's norms, see `Block.scales_shifts`."""
    past: tuple[tuple[KeyValues, ...], ...]
    """For each layer, keys and values of earlier clips, oldest first."""
