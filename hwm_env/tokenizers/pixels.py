"""Converts between pixels, uint8 in [0, 255], and the numbers that tokenizers compute with, float in [-1, 1]."""

import torch
from torch import Tensor


def normalised(clips: Tensor) -> Tensor:
    """Maps uint8 in [0, 255] to float32 in [-1, 1]."""
    return clips.float() / 127.5 - 1.0


def to_pixels(images: Tensor) -> Tensor:
    """Maps float in [-1, 1] to uint8 in [0, 255]; values outside are clamped."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
