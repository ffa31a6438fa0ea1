"""The function that each decoding step calls: what the steps of a clip share is computed once and cached."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hwm_env.model.history import EncodedHistory
from hwm_env.model.masked_hwm import MaskedHWM


def next_clip_predictor(
    model: MaskedHWM,
    past_BTLHW: Tensor,
    actions_BTFA: Tensor,
    chunk_BFA: Tensor,
    encoded: EncodedHistory | None,
    *,
    scene_p: Tensor | None = None,
    scene_BSC: Tensor | None = None,
) -> Callable[[Tensor], Tensor]:
    """Returns a function from the next clip's tokens, partly masked, to the features that the head reads.

    If the past cannot see the future, it is encoded once, and the function runs the network on one clip. With a
    bidirectional mask, the past depends on the tokens revealed so far, and each call runs on all clips.

    Args:
        model: the world model.
        past_BTLHW: tokens of the past, int [B, T_p, 3, H, W].
        actions_BTFA: actions of the past, float [B, T_p, 17, 25].
        chunk_BFA: actions of the next clip, float [B, 17, 25].
        encoded: the encoded past; `None`: encode it.
        scene_p: scene inputs of the past, float [B, T_p, S, C]; not read if `encoded` is given.
        scene_BSC: scene inputs of the next clip, float [B, S, C].

    Returns:
        A function from int [B, 3, H, W] to float [B, L, S, D].
    """
    if model.config.temporal_mask == "bidirectional":
        num_past = past_BTLHW.shape[1]
        next_time = torch.tensor([num_past], device=past_BTLHW.device)
        context = model.prepare(
            num_past,
            actions_BTFA.flatten(1, 2),
            chunk_BFA,
            next_time,
            parallel_targets=False,
            scene_p=scene_p,
            scene_f=None if scene_BSC is None else scene_BSC.unsqueeze(1),
        )

        def predict(tokens_BLHW: Tensor) -> Tensor:
            return model.future_features(context, past_BTLHW, tokens_BLHW.unsqueeze(1)).squeeze(1)

        return predict
    history = encoded or model.encode_history(past_BTLHW, actions_BTFA.flatten(1, 2), scene_p=scene_p)
    return partial(model.next_features, model.prepare_next(history, chunk_BFA, scene_BSC=scene_BSC))
