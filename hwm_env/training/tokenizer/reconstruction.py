"""The loss and the validation score of a tokenizer in training."""

import torch
from torch import Tensor

from hwm_env.tokenizers.base import VideoTokenizer


def reconstruction_loss(
    reconstruction: Tensor, images: Tensor, *, squared_error_weight: float, edge_weight: float
) -> Tensor:
    """Returns mean absolute error + weighted mean squared error + weighted mean absolute error of the edges.

    Args:
        reconstruction: float [B, F, H, W, 3] in [-1, 1].
        images: the original images, of the same shape and range.
        squared_error_weight: weight of the mean squared error, which determines the PSNR.
        edge_weight: weight of the differences between neighbouring pixels, which keeps edges sharp.

    Returns:
        A scalar.
    """
    error = reconstruction - images
    across, down = error[..., 1:, :] - error[..., :-1, :], error[..., 1:, :, :] - error[..., :-1, :, :]
    edges = (across.abs().mean() + down.abs().mean()) / 2
    return error.abs().mean() + squared_error_weight * error.square().mean() + edge_weight * edges


def mean_psnr(tokenizer: VideoTokenizer, clips: Tensor, batch_size: int = 10) -> float:
    """Returns the mean PSNR (dB) of encoding and decoding clips uint8 [B, 17, H, W, 3], `batch_size` at a time."""
    values = []
    for batch in clips.split(batch_size):
        error = tokenizer.decode(tokenizer.encode(batch)).float() - batch.float()
        squared_error = error.square().mean(dim=(1, 2, 3, 4)).clamp(min=1e-3)
        values.append(10 * torch.log10(255.0**2 / squared_error))
    return float(torch.cat(values).mean())
