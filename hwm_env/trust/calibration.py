"""A calibrated logistic model of the probability that a predicted clip is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.types import BoolArray, Float32Array, Float64Array, Int64Array

Numbers = Float32Array | Float64Array | Int64Array

FEATURES: Final = ("confidence", "path_entropy", "action_ood", "drift", "painted_offset", "steps")
"""Features of the logistic model, see `Trust.assess`."""
_MOST_NEWTON_STEPS: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Calibration:
    """A logistic model from features of a predicted clip to the probability that it is wrong."""

    bound_psnr_db: float
    """A clip is wrong if its PSNR against the ground truth is below this."""
    intercept: float
    """Log-odds if all features are 0."""
    weights: Mapping[str, float]
    """Log-odds per unit of each feature; for `steps`, per unit of log(1 + steps)."""
    quality: Mapping[str, Any] = field(default_factory=dict)
    """Measured quality on episodes that it was not fitted to. Informative only; no code depends on it."""

    def __post_init__(self) -> None:
        """Raises CheckpointError if a number is missing or not finite."""
        if set(self.weights) != set(FEATURES):
            raise CheckpointError(f"calibration: expected weights of {sorted(FEATURES)}, got {sorted(self.weights)}")
        for name, value in {"bound_psnr_db": self.bound_psnr_db, "intercept": self.intercept, **self.weights}.items():
            if not isinstance(value, int | float) or not np.isfinite(value):
                raise CheckpointError(f"calibration: expected {name} as a finite number, got {value!r}")

    @property
    def needs_painted_offset(self) -> bool:
        """Whether that feature, whose computation takes half as long as an env step, has any weight."""
        return self.weights["painted_offset"] != 0

    @classmethod
    def fit(
        cls,
        features: Mapping[str, Numbers],
        errors: BoolArray,
        *,
        bound_psnr_db: float,
    ) -> "Calibration":
        """Fits the model by maximum likelihood, with weakly regularised weights.

        Args:
            features: finite float [N] for each name in FEATURES.
            errors: bool [N]: whether a clip's PSNR is below the bound.
            bound_psnr_db: the bound.

        Raises:
            InvalidInputError: all clips are wrong, or none is.
        """
        if errors.all() or not errors.any():
            raise InvalidInputError(
                f"{int(errors.sum())} of {errors.size} clips are below {bound_psnr_db} dB; choose a bound between them"
            )
        columns = np.stack([_term(name, features) for name in FEATURES], axis=1)
        mean, std = columns.mean(axis=0), columns.std(axis=0)
        # A constant feature gets no weight.
        unit = np.where(std > 0, std, np.inf)
        coefficients = logistic_regression((columns - mean) / unit, errors)
        weights = coefficients[1:] / unit
        return cls(
            bound_psnr_db=bound_psnr_db,
            intercept=float(coefficients[0] - weights @ mean),
            weights=dict(zip(FEATURES, weights.tolist(), strict=True)),
        )

    def error_probability(self, features: Mapping[str, Numbers]) -> Float32Array:
        """Returns the probability that each clip is wrong.

        Args:
            features: float [B] for each name in FEATURES.

        Returns:
            float32 [B], 0 to 1.
        """
        terms = [weight * _term(name, features) for name, weight in self.weights.items()]
        probability: Float32Array = _sigmoid(self.intercept + np.sum(terms, axis=0)).astype(np.float32)
        return probability


def logistic_regression(columns: Float64Array, outcomes: BoolArray) -> Float64Array:
    """Fits P(outcome) = sigmoid(c_0 + columns @ c_1...) by Newton's method, with a unit Gaussian prior on c_1....

    Args:
        columns: features of mean 0 and standard deviation 1, float64 [N, n].
        outcomes: bool [N].

    Returns:
        float64 [1 + n]: the constant, then one coefficient per column.
    """
    design = np.column_stack([np.ones(len(columns)), columns])
    pull = np.eye(design.shape[1])
    pull[0, 0] = 0.0
    coefficients = np.zeros(design.shape[1])
    for _ in range(_MOST_NEWTON_STEPS):
        probability = _sigmoid(design @ coefficients)
        gradient = design.T @ (probability - outcomes) + pull @ coefficients
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + pull
        step = np.linalg.solve(curvature, gradient)
        coefficients -= step
        if np.abs(step).max() < 1e-10:
            break
    return coefficients


def _term(name: str, features: Mapping[str, Numbers]) -> Float64Array:
    """Returns a feature as the logistic model uses it, float64 [N]."""
    values = np.asarray(features[name], np.float64)
    return np.log1p(values) if name == "steps" else values


def _sigmoid(log_odds: Float64Array) -> Float64Array:
    # Unlike 1 / (1 + exp(-x)), this cannot overflow.
    return (1.0 + np.tanh(log_odds / 2.0)) / 2.0
