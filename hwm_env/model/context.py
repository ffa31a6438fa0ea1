"""The inputs of a pass that its tokens do not change: prepared once, shared by all decoding steps of a clip."""

from typing import NamedTuple

from torch import Tensor

from hwm_env.model.attention import KeyValues, Places, Rotations
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

    def of_rows(self, start: int, stop: int) -> "PassContext":
        """Returns the context of some rows, which shares this one's memory."""

        def part(tensor: Tensor) -> Tensor:
            # An axis of size 1 is for all rows.
            return tensor[start:stop] if len(tensor) > 1 else tensor

        rotations = self.places.rotations
        video, actions = ((part(cos), part(sin)) for cos, sin in (rotations.video, rotations.actions))
        return PassContext(
            part(self.video_offset),
            part(self.actions),
            self.places._replace(rotations=Rotations(rotations.grid, video, actions)),
            tuple(of_layer and tuple(map(part, of_layer)) for of_layer in self.scales_shifts),
            tuple(tuple(KeyValues(*map(part, clip)) for clip in of_layer) for of_layer in self.past),
        )
