"""Bootstrap samples and the intervals that are read from them (Efron 1979)."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from hwm_env.types import Float64Array, Int64Array

RESAMPLES: Final = 2000
LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_estimate(results: Float64Array, seed: int = 0) -> Estimate:
    """Returns the mean of results, [S], with its percentile-bootstrap interval."""
    means = results[resample(len(results), seed)].mean(1)
    interval = percentile_interval(means)
    return Estimate(float(results.mean()), interval.low, interval.high)


def resample(count: int, seed: int) -> Int64Array:
    """Draws RESAMPLES samples of `count` indices with replacement, [RESAMPLES, count]."""
    return np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))


def percentile_interval(values: Float64Array) -> Interval:
    """Returns the interval that holds the middle 95 % of the finite values; NaN if there are none."""
    return _quantiles(values, (1 - LEVEL) / 2, (1 + LEVEL) / 2)


def bias_corrected_interval(values: Float64Array, estimate: float) -> Interval:
    """Returns the bias-corrected percentile interval of bootstrap values (Efron and Tibshirani 1993, section 14.3).

    The correction is limited so that the interval holds an estimate that has bootstrap values on both sides.

    Args:
        values: the statistic of each bootstrap sample; those that are not finite are left out.
        estimate: the statistic of the data.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    normal = NormalDist()
    reach = normal.inv_cdf((1 + LEVEL) / 2)
    # Values that equal the estimate, but for rounding errors, count half.
    equal = np.isclose(known, estimate, rtol=1e-12, atol=1e-15)
    below = ((known < estimate) & ~equal).mean() + equal.mean() / 2
    bias = normal.inv_cdf(float(np.clip(below, (1 - LEVEL) / 2, (1 + LEVEL) / 2)))
    return _quantiles(known, normal.cdf(2 * bias - reach), normal.cdf(2 * bias + reach))


def _quantiles(values: Float64Array, low: float, high: float) -> Interval:
    known = values[np.isfinite(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    ends = np.quantile(known, [low, high])
    return Interval(float(ends[0]), float(ends[1]))
