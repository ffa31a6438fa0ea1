"""PSNR against closed forms, SSIM against its definition."""

import math

import numpy as np
import pytest
import torch

from hwm_env.evaluation.image_metrics import psnr_db, ssim


def test_a_constant_error_has_its_closed_form() -> None:
    truth = torch.full((2, 17, 4, 4, 3), 100, dtype=torch.uint8)
    images = torch.stack([truth[0] + 5, truth[1] - 50])
    expected = [20 * math.log10(255 / 5), 20 * math.log10(255 / 50)]
    assert torch.allclose(psnr_db(images, truth), torch.tensor(expected))


def test_a_repeated_frame_is_compared_with_every_frame() -> None:
    truth = torch.zeros(1, 2, 1, 1, 1, dtype=torch.uint8)
    truth[0, 1] = 20
    repeated = torch.full((1, 1, 1, 1, 1), 10, dtype=torch.uint8)
    assert torch.allclose(psnr_db(repeated, truth), torch.tensor(20 * math.log10(255 / 10)))


def test_equal_images_are_finite() -> None:
    images = torch.ones(1, 3, dtype=torch.uint8)
    assert psnr_db(images, images).item() == 100.0


def naive_ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Computes equation 13 of Wang et al. (2004) in each window of each colour of images [H, W, 3] in [0, 1]."""
    offsets = np.arange(-5, 6)
    bell = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(bell, bell) / bell.sum() ** 2
    c1, c2 = 0.01**2, 0.03**2
    padded = [np.pad(each, ((5, 5), (5, 5), (0, 0)), mode="reflect") for each in (image, truth)]
    total = 0.0
    for row, column, colour in np.ndindex(image.shape):
        x, y = (each[row : row + 11, column : column + 11, colour] for each in padded)
        mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
        var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
        covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
        total += ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
            (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
        )
    return total / image.size


def test_ssim_is_as_defined() -> None:
    pytest.importorskip("torchmetrics")
    random = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 256, (3, 14, 19, 3), generator=random)
    noise = torch.tensor([10.0, 60.0, 0.0]).view(3, 1, 1, 1) * torch.randn(truth.shape, generator=random)
    images = (truth + noise).clamp(0, 255).to(torch.uint8)
    truth = truth.to(torch.uint8)
    expected = [naive_ssim(*(each.numpy() / 255 for each in pair)) for pair in zip(images, truth, strict=True)]
    measured = ssim(images, truth)
    assert measured.tolist() == pytest.approx(expected, abs=1e-4)
    assert 0.3 < measured[1] < measured[0] < 0.999
    assert measured[2] == 1
