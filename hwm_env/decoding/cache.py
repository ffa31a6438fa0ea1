"""Predictors of the next clip: what the decoding steps of a clip share is computed once and kept."""

import torch
from torch import Tensor

from hwm_env.model.history import EncodedHistory
from hwm_env.model.masked_hwm import MaskedHWM


class NextClip:
    """Maps the next clip's tokens, partly masked, to the features that the head reads.

    The first call encodes the newest known clip in the same pass; later calls run on the next clip alone.

    Args:
        model: a world model whose past does not depend on the future.
        history: the encoded history without its newest clip.
        newest_BLHW: tokens of the newest clip, int [B, 3, H, W].
        chunks_BTFA: actions of the newest and of the next clip, float [B, 2, 17, 25].
        scene_BTSC: their scene inputs, float [B, 2, S, C].
    """

    def __init__(
        self,
        model: MaskedHWM,
        history: EncodedHistory,
        newest_BLHW: Tensor,
        chunks_BTFA: Tensor,
        scene_BTSC: Tensor | None = None,
    ) -> None:
        self.history = history
        """The encoded history; from the first call on with the newest clip."""
        self._model = model
        self._known_BTLHW = newest_BLHW.unsqueeze(1)
        self._chunks_BTFA = chunks_BTFA
        self._scene_BTSC = scene_BTSC
        self._context = model.prepare_next(history, chunks_BTFA, scene_BTSC=scene_BTSC)
        self._calls = 0

    def __call__(self, tokens_BLHW: Tensor) -> Tensor:
        """Maps int [B, 3, H, W] to float [B, L, S, D]."""
        if self._calls == 1:
            scene_BTSC = None if self._scene_BTSC is None else self._scene_BTSC[:, 1:]
            self._context = self._model.prepare_next(self.history, self._chunks_BTFA[:, 1:], scene_BTSC=scene_BTSC)
            self._known_BTLHW = self._known_BTLHW[:, :0]
        self._calls += 1
        clips_BTLHW = torch.cat([self._known_BTLHW, tokens_BLHW.unsqueeze(1)], dim=1)
        features, encoded = self._model.next_features(self._context, clips_BTLHW)
        self.history = self.history.followed_by(encoded)
        return features


class WholeWindow:
    """The same for a bidirectional mask: the past depends on the revealed tokens, so each call runs on all clips.

    Args:
        model: the world model.
        past_BTLHW: tokens of the past, int [B, T_p, 3, H, W].
        actions_BTFA: actions of the past, float [B, T_p, 17, 25].
        chunk_BFA: actions of the next clip, float [B, 17, 25].
        scene_p: scene inputs of the past, float [B, T_p, S, C].
        scene_BSC: scene inputs of the next clip, float [B, S, C].
    """

    def __init__(
        self,
        model: MaskedHWM,
        past_BTLHW: Tensor,
        actions_BTFA: Tensor,
        chunk_BFA: Tensor,
        *,
        scene_p: Tensor | None = None,
        scene_BSC: Tensor | None = None,
    ) -> None:
        self._model = model
        self._past_BTLHW = past_BTLHW
        num_past = past_BTLHW.shape[1]
        self._context = model.prepare(
            num_past,
            actions_BTFA.flatten(1, 2),
            chunk_BFA,
            torch.tensor([num_past], device=past_BTLHW.device),
            parallel_targets=False,
            scene_p=scene_p,
            scene_f=None if scene_BSC is None else scene_BSC.unsqueeze(1),
        )

    def __call__(self, tokens_BLHW: Tensor) -> Tensor:
        """Maps int [B, 3, H, W] to float [B, L, S, D]."""
        features = self._model.future_features(self._context, self._past_BTLHW, tokens_BLHW.unsqueeze(1))
        return features.squeeze(1)


def next_clip(
    model: MaskedHWM,
    past_BTLHW: Tensor,
    actions_BTFA: Tensor,
    chunk_BFA: Tensor,
    *,
    scene_p: Tensor | None = None,
    scene_BSC: Tensor | None = None,
) -> NextClip | WholeWindow:
    """Returns a predictor of the clip after a past that is not encoded yet.

    Args:
        model: the world model.
        past_BTLHW: tokens of the past, int [B, T_p, 3, H, W].
        actions_BTFA: actions of the past, float [B, T_p, 17, 25].
        chunk_BFA: actions of the next clip, float [B, 17, 25].
        scene_p: scene inputs of the past, float [B, T_p, S, C].
        scene_BSC: scene inputs of the next clip, float [B, S, C].
    """
    if model.config.temporal_mask == "bidirectional":
        return WholeWindow(model, past_BTLHW, actions_BTFA, chunk_BFA, scene_p=scene_p, scene_BSC=scene_BSC)
    history = encode_all_but_newest(model, past_BTLHW, actions_BTFA, scene_p)
    chunks_BTFA = torch.stack([actions_BTFA[:, -1], chunk_BFA], dim=1)
    both = None if scene_p is None or scene_BSC is None else torch.stack([scene_p[:, -1], scene_BSC], dim=1)
    return NextClip(model, history, past_BTLHW[:, -1], chunks_BTFA, both)


def encode_all_but_newest(
    model: MaskedHWM, past_BTLHW: Tensor, actions_BTFA: Tensor, scene_p: Tensor | None
) -> EncodedHistory:
    """Encodes a past except its newest clip, which `NextClip` encodes. Arguments as for `next_clip`."""
    scene_p = None if scene_p is None else scene_p[:, :-1]
    return model.encode_history(past_BTLHW[:, :-1], actions_BTFA[:, :-1].flatten(1, 2), scene_p=scene_p, num_newer=1)
