"""What is computed once and used by many passes: the encoded past, and all that a pass needs but tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.model.attention import KeyValues, Rotations
from hwm_env.model.block import ScalesShifts


class EncodedHistory(NamedTuple):
    """What the next clip needs of the past: keys and values, which under the clip-causal mask no future can change."""

    clips: tuple[KeyValues, ...]
    """Past clips, oldest first, with an axis for the layers before the others. Histories that follow one another
    share them."""
    next_time: Tensor
    """int [B]: clip time of the clip that follows."""

    def select(self, worlds: Tensor) -> "EncodedHistory":
        """The history of these worlds of the batch, int [n]."""
        clips = tuple(KeyValues(*(field[:, worlds] for field in clip)) for clip in self.clips)
        return EncodedHistory(clips, self.next_time[worlds])

    def expand(self, n: int) -> "EncodedHistory":
        """The history of n worlds that share a single world's."""
        clips = tuple(KeyValues(*(field.expand(-1, n, *field.shape[2:]) for field in clip)) for clip in self.clips)
        return EncodedHistory(clips, self.next_time.expand(n))

    @classmethod
    def join(cls, histories: "Sequence[EncodedHistory]") -> "EncodedHistory":
        """One history of several batches, each of equally many clips."""
        clips = tuple(
            KeyValues(*(torch.cat(fields, dim=1) for fields in zip(*clip, strict=True)))
            for clip in zip(*(history.clips for history in histories), strict=True)
        )
        return cls(clips, torch.cat([history.next_time for history in histories]))

    def of_layer(self, layer: int) -> tuple[KeyValues, ...]:
        """The clips' keys and values in one layer."""
        return tuple(KeyValues(*(field[layer] for field in clip)) for clip in self.clips)


class Setting(NamedTuple):
    """All that a pass needs but the video's tokens: the K passes of decoding a clip have it in common."""

    video_offset: Tensor
    """Added to token vectors, [B, N, S, D] or with axes of size 1."""
    actions: Tensor
    """Action vectors [B, N, D]."""
    scales_shifts: tuple[ScalesShifts | None, ...]
    """What the actions do to the norms of each block."""
    rotations: Rotations
    visible: Tensor | None
    before: Tensor
    """int [N], the place before each, see `place_before`."""
    num_past: int
    past: tuple[tuple[KeyValues, ...], ...]
    """For each layer, keys and values of clips that came before, oldest first."""
