"""Image metrics."""

import torch
from torch import Tensor

PEAK = 255.0
MAX_PSNR_DB = 100.0
"""Stands for equal images, whose ratio is infinite."""


def psnr_db(images: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each sample, over all of its pixels.

    Args:
        images: uint8 [B, ...].
        truth: uint8 [B, ...], broadcastable to `images`.

    Returns:
        float32 [B], dB: 10 * log10(255^2 / mean squared error), at most 100.
    """
    squared = (images.float() - truth.float()).square().flatten(1).mean(dim=1)
    return (10 * torch.log10(PEAK**2 / squared.clamp(min=1e-12))).clamp(max=MAX_PSNR_DB)
