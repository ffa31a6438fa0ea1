"""Renders clips with a scene model alone, at given poses and without a history."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from hwm_env.scene.model import SceneModel
from hwm_env.tokenizers.base import VideoTokenizer

RENDERED_AT_ONCE: Final = 32


class PosedClips(NamedTuple):
    """Clips with the inputs from which a scene model predicts them."""

    tokens: Tensor
    """int32 [B, 3, H, W]."""
    poses: Tensor
    """float32 [B, 3, 3]: poses of the base at the keyframes."""
    numbers: Tensor
    """float32 [B, 3, 25]: the robot's numbers at the keyframes."""


class Rendering(NamedTuple):
    """A scene model's predictions for posed clips."""

    losses: Tensor
    """float32 [B]: negative log-likelihood of the clips' tokens, nats per token."""
    frames: Tensor
    """uint8 [B, 17, height, width, 3]: decoded most probable tokens."""


@torch.no_grad()
def render_clips(model: SceneModel, clips: PosedClips, tokenizer: VideoTokenizer) -> Rendering:
    """Renders clips at their poses, on the model's device."""
    device = model.positions.device
    losses, frames = [], []
    for part in zip(*(of_clips.split(RENDERED_AT_ONCE) for of_clips in clips), strict=True):
        tokens, poses, numbers = (one.to(device) for one in part)
        logits = model(poses, numbers)
        losses.append(model.head.cross_entropy(logits, tokens).mean(dim=(1, 2, 3)))
        frames.append(tokenizer.decode(most_probable(model, logits)))
    return Rendering(torch.cat(losses), torch.cat(frames))


def most_probable(model: SceneModel, logits: Tensor) -> Tensor:
    """Returns the most probable tokens int32 [...] under digit logits [..., n]."""
    digits = torch.stack([part.argmax(dim=-1) for part in model.head.split(logits)], dim=-1)
    return model.head.fsq.digits_to_codes(digits).int()
