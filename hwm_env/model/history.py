"""The encoded past, computed once and used by every pass over the clips that follow."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.model.attention import KeyValues
from hwm_env.model.config import MaskedHWMConfig


class EncodedHistory(NamedTuple):
    """Keys and values of past clips. Under the clip-causal mask, they do not depend on the future."""

    clips: tuple[KeyValues, ...]
    """One for each encoded clip, oldest first, with an axis for the layers in front. Successive histories share
    them."""
    next_time: Tensor
    """int [B]: clip time of the clip that follows."""
    following_scene: Tensor | None = None
    """float [B, S, C]: scene inputs of the clip that follows, if they are known already."""

    def followed_by(self, clips: tuple[KeyValues, ...]) -> "EncodedHistory":
        """Returns the history with newer clips appended."""
        return EncodedHistory(self.clips + clips, self.next_time + len(clips))

    def newest(self, most: int) -> "EncodedHistory":
        """Returns the history without its oldest clips, if it has more than `most`."""
        return self._replace(clips=self.clips[max(0, len(self.clips) - most) :])

    def select(self, rows: Tensor) -> "EncodedHistory":
        """Returns the history of these rows, int [n]."""
        clips = tuple(KeyValues(*(field[:, rows] for field in clip)) for clip in self.clips)
        scene = None if self.following_scene is None else self.following_scene[rows]
        return EncodedHistory(clips, self.next_time[rows], scene)

    def expand(self, n: int) -> "EncodedHistory":
        """Returns the history of n rows that share the memory of a single one."""
        clips = tuple(KeyValues(*(field.expand(-1, n, *field.shape[2:]) for field in clip)) for clip in self.clips)
        scene = None if self.following_scene is None else self.following_scene.expand(n, -1, -1)
        return EncodedHistory(clips, self.next_time.expand(n), scene)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "EncodedHistory":
        """Returns the history on another device, in another number type."""
        clips = tuple(KeyValues(*(field.to(device, dtype) for field in clip)) for clip in self.clips)
        scene = None if self.following_scene is None else self.following_scene.to(device)
        return EncodedHistory(clips, self.next_time.to(device), scene)

    @classmethod
    def join(cls, histories: "Sequence[EncodedHistory]") -> "EncodedHistory":
        """Joins batches whose histories have equally many clips."""
        scenes = [history.following_scene for history in histories if history.following_scene is not None]
        return cls(
            joined([history.clips for history in histories]),
            torch.cat([history.next_time for history in histories]),
            torch.cat(scenes) if len(scenes) == len(histories) else None,
        )

    def of_layer(self, layer: int) -> tuple[KeyValues, ...]:
        """Returns the clips' keys and values in one layer."""
        return tuple(KeyValues(*(field[layer] for field in clip)) for clip in self.clips)


def joined(batches: Sequence[tuple[KeyValues, ...]]) -> tuple[KeyValues, ...]:
    """Joins the encodings of equally many clips of several batches."""
    return tuple(
        KeyValues(*(torch.cat(fields, dim=1) for fields in zip(*clip, strict=True)))
        for clip in zip(*batches, strict=True)
    )


class ClipEncodings:
    """Collects the keys and values of the first clips of a pass, layer by layer.

    Args:
        config: of the model.
        num_clips: number of clips to keep.
    """

    def __init__(self, config: MaskedHWMConfig, num_clips: int) -> None:
        self._config = config
        self._num_clips = num_clips
        self.clips: tuple[KeyValues, ...] = ()
        """The clips, with an axis for the layers in front; complete after the last layer."""

    def keep(self, layer: int, own: KeyValues) -> None:
        """Keeps what one layer computed for the places of the pass."""
        parts = own.split(self._config.steps_per_clip)[: self._num_clips]
        if not self.clips:
            num_layers = self._config.num_layers
            self.clips = tuple(KeyValues(*(f.new_empty(num_layers, *f.shape) for f in part)) for part in parts)
        for clip, part in zip(self.clips, parts, strict=True):
            for whole, of_layer in zip(clip, part, strict=True):
                whole[layer] = of_layer
