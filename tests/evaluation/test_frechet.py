"""The Fréchet distance against closed forms and another implementation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.frechet import frechet_distance


def drawn(mean: list[float], covariance: np.ndarray, count: int, seed: int = 0) -> Tensor:
    """Draws samples and corrects them, so that they have exactly this mean and covariance."""
    values = np.random.default_rng(seed).standard_normal((count, len(mean)))
    values -= values.mean(axis=0)
    whitened = values @ np.linalg.inv(np.linalg.cholesky(np.cov(values, rowvar=False))).T
    return torch.from_numpy(whitened @ np.linalg.cholesky(covariance).T + mean)


def test_normal_distributions_with_common_axes_have_a_closed_form() -> None:
    """Their distance is that of the means plus that of the standard deviations."""
    one = drawn([0.0, 1.0, 2.0], np.diag([1.0, 4.0, 9.0]), 50)
    other = drawn([2.0, 1.0, 1.0], np.diag([4.0, 4.0, 1.0]), 80, seed=1)
    expected = (4 + 0 + 1) + (1 + 0 + 4)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-9)


def test_a_rotation_of_both_changes_nothing() -> None:
    rotation = torch.from_numpy(np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0])
    one = drawn([0.0, 1.0, 2.0], np.diag([1.0, 4.0, 9.0]), 50) @ rotation
    other = drawn([2.0, 1.0, 1.0], np.diag([4.0, 4.0, 1.0]), 80, seed=1) @ rotation
    assert frechet_distance(one, other) == pytest.approx(10.0, rel=1e-9)


def test_two_dimensions_have_a_closed_form() -> None:
    """For 2 x 2 matrices, tr M^(1/2) = (tr M + 2 det(M)^(1/2))^(1/2)."""
    first, second = np.array([[2.0, 0.9], [0.9, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    product = first @ second
    common = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(first) + np.trace(second) - 2 * common + 0.25
    one, other = drawn([0.0, 0.5], first, 30), drawn([0.0, 0.0], second, 40, seed=1)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)


def test_equals_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(40, 12, generator=generator).double()
    other = one[:30] @ torch.randn(12, 12, generator=generator).double() + 0.3
    moments = [(features.mean(dim=0), features.T.cov()) for features in (one, other)]
    expected = fid._compute_fid(*moments[0], *moments[1]).item()
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [5, 100])
def test_equal_sets_have_no_distance(count: int) -> None:
    """Also if there are fewer samples than features."""
    features = torch.randn(count, 20, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(features, features.flip(0)) == pytest.approx(0.0, abs=1e-5)


def test_few_samples_are_biased_upwards() -> None:
    generator = torch.Generator().manual_seed(0)
    few, many = (frechet_distance(*torch.randn(2, count, 20, generator=generator).unbind()) for count in (30, 3000))
    assert few > 10 * many > 0


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (torch.ones(1, 3), torch.ones(5, 3), r"at least 2 samples .* got \(1, 3\) and \(5, 3\); use more clips"),
        (torch.ones(4, 3), torch.ones(5, 2), "equal numbers of features"),
        (torch.ones(4, 3), torch.full((5, 3), torch.nan), "NaN or infinity in the features"),
    ],
)
def test_what_has_no_distance_is_refused(one: Tensor, other: Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        frechet_distance(one, other)
