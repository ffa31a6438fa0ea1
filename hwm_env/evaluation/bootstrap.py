"""Means with percentile-bootstrap intervals (Efron 1979)."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from hwm_env.types import Float64Array, Int64Array

RESAMPLES: Final = 2000
LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_estimate(results: Float64Array, seed: int = 0) -> Estimate:
    """Returns the mean of results, [S], with its bootstrap interval."""
    means = results[resample(len(results), seed)].mean(1)
    return Estimate(float(results.mean()), *percentile_interval(means))


def resample(count: int, seed: int) -> Int64Array:
    """Draws RESAMPLES samples of `count` indices with replacement, [RESAMPLES, count]."""
    return np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))


def percentile_interval(values: Float64Array) -> tuple[float, float]:
    """Returns the ends of the interval that holds the middle 95 % of the finite values; NaN if there are none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
