import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.training.tokenizer.reconstruction import mean_psnr, reconstruction_loss


def test_loss_matches_a_naive_sum() -> None:
    generator = np.random.default_rng(0)
    reconstruction, images = generator.uniform(-1, 1, (2, 1, 2, 3, 4, 3))
    error = reconstruction - images
    across = [abs(error[0, f, y, x + 1, c] - error[0, f, y, x, c]) for f, y, x, c in np.ndindex(2, 3, 3, 3)]
    down = [abs(error[0, f, y + 1, x, c] - error[0, f, y, x, c]) for f, y, x, c in np.ndindex(2, 2, 4, 3)]
    expected = np.abs(error).mean() + 3 * (error**2).mean() + 0.25 * (np.mean(across) + np.mean(down)) / 2
    loss = reconstruction_loss(
        torch.from_numpy(reconstruction), torch.from_numpy(images), squared_error_weight=3.0, edge_weight=0.25
    )
    assert float(loss) == pytest.approx(expected)


class OnePixelTokenizer:
    """A tokenizer that encodes only the first pixel of a clip."""

    fsq_levels = (256,)
    codebook_size = 256
    identity = token_identity = "one pixel"
    spatial_compression = 8

    def encode(self, clips: Tensor) -> Tensor:
        return clips[:, :3, 0, 0, 0, None, None].int()

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens[:, :1, :, :, None].expand(-1, 17, 8, 8, 3).to(torch.uint8)


def test_psnr_is_the_mean_over_clips() -> None:
    clips = torch.zeros(3, 17, 8, 8, 3, dtype=torch.uint8)
    for clip, error in enumerate((5, 50, 100)):
        clips[clip, :, 0, 0, 0] = error
    decoded = torch.stack([torch.full_like(clips[0], error) for error in (5, 50, 100)]).double()
    expected = (20 * np.log10(255) - 10 * (decoded - clips).square().mean((1, 2, 3, 4)).log10()).mean()
    assert mean_psnr(OnePixelTokenizer(), clips, batch_size=2) == pytest.approx(float(expected))
