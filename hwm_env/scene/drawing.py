"""What a scene model draws by itself at given poses, without any history."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from hwm_env.scene.model import SceneModel
from hwm_env.tokenizers.base import VideoTokenizer

DRAWN_AT_ONCE: Final = 32


class PosedClips(NamedTuple):
    """Clips with what a scene model predicts them from."""

    tokens: Tensor
    """int32 [B, 3, H, W]."""
    poses: Tensor
    """Of the base at the keyframes, float32 [B, 3, 3]."""
    numbers: Tensor
    """The robot's at the keyframes, float32 [B, 3, 25]."""


class Drawing(NamedTuple):
    """What a scene model makes of clips' poses and numbers."""

    losses: Tensor
    """Negative log-likelihood of the clips' own tokens, float32 [B], nats a token."""
    frames: Tensor
    """Its most probable tokens, decoded, uint8 [B, 17, height, width, 3]."""


@torch.no_grad()
def draw_clips(model: SceneModel, clips: PosedClips, tokenizer: VideoTokenizer) -> Drawing:
    """Draws clips at their poses, on the model's device."""
    device = model.positions.device
    losses, frames = [], []
    for part in zip(*(of_clips.split(DRAWN_AT_ONCE) for of_clips in clips), strict=True):
        tokens, poses, numbers = (one.to(device) for one in part)
        logits = model(poses, numbers)
        losses.append(model.head.cross_entropy(logits, tokens).mean(dim=(1, 2, 3)))
        frames.append(tokenizer.decode(most_probable(model, logits)))
    return Drawing(torch.cat(losses), torch.cat(frames))


def most_probable(model: SceneModel, logits: Tensor) -> Tensor:
    """Returns the most probable tokens int32 [...] under digit logits [..., n]."""
    digits = torch.stack([part.argmax(dim=-1) for part in model.head.split(logits)], dim=-1)
    return model.head.fsq.digits_to_codes(digits).int()
