"""The Fréchet distance between two sets of features (Heusel et al., arXiv 1706.08500)."""

import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError


def frechet_distance(features: Tensor, truth: Tensor) -> float:
    """Returns the squared Fréchet distance between normal distributions that are fitted to two sets of features.

    It is |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) for means m and covariances S (divided by the number of samples
    less 1), computed in float64. With about as many samples as features or fewer, it is biased upwards: compare only
    distances of equal numbers of samples.

    Args:
        features: float [N, D], N at least 2.
        truth: float [M, D], M at least 2.

    Returns:
        0 for equal distributions, larger for more different ones, in squared units of the features.

    Raises:
        InvalidInputError: there are fewer than two samples, the numbers of features differ, or a feature is not finite.
    """
    if (
        features.ndim != 2
        or truth.ndim != 2
        or features.shape[1] != truth.shape[1]
        or min(map(len, (features, truth))) < 2
    ):
        raise InvalidInputError(
            "expected two sets of at least 2 samples with equal numbers of features, got "
            f"{tuple(features.shape)} and {tuple(truth.shape)}; use more clips"
        )
    if not (features.isfinite().all() and truth.isfinite().all()):
        raise InvalidInputError("NaN or infinity in the features; check the detector's weights")
    mean, covariance = _moments(features)
    true_mean, true_covariance = _moments(truth)
    # The eigenvalues of S1 S2 are those of R S2 R with R = S1^(1/2), which is symmetric.
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    common = torch.linalg.eigvalsh(root @ true_covariance @ root).clamp(min=0).sqrt().sum()
    distance = (mean - true_mean).square().sum() + covariance.trace() + true_covariance.trace() - 2 * common
    return max(float(distance), 0.0)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean [D] and covariance [D, D] of features [N, D], float64."""
    values = features.double()
    mean = values.mean(dim=0)
    centred = values - mean
    return mean, centred.T @ centred / (len(values) - 1)
