"""Image metrics: PSNR and SSIM; LPIPS is in `lpips.py`."""

import torch
from torch import Tensor

from hwm_env.errors import require_extra

PEAK = 255.0
MAX_PSNR_DB = 100.0
"""The PSNR of equal images, whose ratio is infinite."""


def psnr_db(images: Tensor, truth: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio of each sample, over all of its pixels.

    Args:
        images: uint8 [B, ...].
        truth: uint8 [B, ...], broadcastable to `images`.

    Returns:
        float32 [B], dB: 10 * log10(255^2 / mean squared error), at most 100.
    """
    squared = (images.float() - truth.float()).square().flatten(1).mean(dim=1)
    return error_to_psnr_db(squared)


def error_to_psnr_db(squared_error: Tensor) -> Tensor:
    """Converts mean squared errors of 8-bit values to PSNR (dB), at most 100."""
    return (10 * torch.log10(PEAK**2 / squared_error.clamp(min=1e-12))).clamp(max=MAX_PSNR_DB)


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Returns the structural similarity (SSIM, Wang et al. 2004) of each image, over all windows and colours.

    It is computed by torchmetrics. The images are scaled to [0, 1], so the data range is 1; windows are Gaussian, 11 x
    11 with sigma 1.5, and mirrored at the borders. The computation is in float32, whose error is up to 0.002 for images
    without texture.

    Args:
        images: uint8 [B, H, W, 3], H and W at least 6.
        truth: uint8 [B, H, W, 3].

    Returns:
        float32 [B], 1 for equal images.

    Raises:
        MissingExtraError: torchmetrics is not installed.
    """
    image_metrics = require_extra("torchmetrics.functional.image", "evaluation")
    similarity: Tensor = image_metrics.structural_similarity_index_measure(
        images.permute(0, 3, 1, 2) / PEAK, truth.permute(0, 3, 1, 2) / PEAK, data_range=1.0, reduction="none"
    )
    return similarity
