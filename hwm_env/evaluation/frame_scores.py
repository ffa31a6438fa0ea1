"""Scores frames with all image metrics, for reports on predicted videos."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hwm_env.evaluation.image_metrics import psnr_db, ssim
from hwm_env.evaluation.lpips import LPIPS
from hwm_env.types import FRAMES_PER_CLIP

FrameMetric = Callable[[Tensor, Tensor], Tensor]
"""Compares images with their truth, both uint8 [B, H, W, 3]; returns float32 [B]."""


def frame_metrics(lpips: LPIPS | None) -> Mapping[str, FrameMetric]:
    """Returns the image metrics by name: psnr_db (dB), ssim and, if there are weights for it, lpips."""
    return {"psnr_db": psnr_db, "ssim": ssim} | ({} if lpips is None else {"lpips": lpips})


def score_frames(images: Tensor, truth: Tensor, lpips: LPIPS | None) -> dict[str, Tensor]:
    """Scores frames with each of `frame_metrics`, 17 at a time to bound the memory.

    Args:
        images: uint8 [F, H, W, 3].
        truth: uint8 [F, H, W, 3].
        lpips: must be on the device of the images; `None`: LPIPS is left out.

    Returns:
        By metric, float32 [F].

    Raises:
        MissingExtraError: torchmetrics is not installed.
        InvalidInputError: the images are too small for LPIPS.
    """
    parts = list(zip(images.split(FRAMES_PER_CLIP), truth.split(FRAMES_PER_CLIP), strict=True))
    return {name: torch.cat([metric(*part) for part in parts]) for name, metric in frame_metrics(lpips).items()}
