"""PSNR against closed forms."""

import math

import torch

from hwm_env.evaluation.metrics import psnr_db


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
