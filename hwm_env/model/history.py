"""The encoded past, computed once and used by every pass over the clips that follow."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.model.attention import KeyValues


class EncodedHistory(NamedTuple):
    """Keys and values of past clips. Under the clip-causal mask, they do not depend on the future."""

    clips: tuple[KeyValues, ...]
    """One for each past clip, oldest first, with an axis for the layers in front. Successive histories share them."""
    next_time: Tensor
    """int [B]: clip time of the next clip."""

    def select(self, rows: Tensor) -> "EncodedHistory":
        """Returns the history of these rows, int [n]."""
        clips = tuple(KeyValues(*(field[:, rows] for field in clip)) for clip in self.clips)
        return EncodedHistory(clips, self.next_time[rows])

    def expand(self, n: int) -> "EncodedHistory":
        """Returns the history of n rows that share the memory of a single one."""
        clips = tuple(KeyValues(*(field.expand(-1, n, *field.shape[2:]) for field in clip)) for clip in self.clips)
        return EncodedHistory(clips, self.next_time.expand(n))

    @classmethod
    def join(cls, histories: "Sequence[EncodedHistory]") -> "EncodedHistory":
        """Joins batches whose histories have equally many clips."""
        clips = tuple(
            KeyValues(*(torch.cat(fields, dim=1) for fields in zip(*clip, strict=True)))
            for clip in zip(*(history.clips for history in histories), strict=True)
        )
        return cls(clips, torch.cat([history.next_time for history in histories]))

    def of_layer(self, layer: int) -> tuple[KeyValues, ...]:
        """Returns the clips' keys and values in one layer."""
        return tuple(KeyValues(*(field[layer] for field in clip)) for clip in self.clips)
