"""Ratios of sums over paired episodes."""

import numpy as np

from hwm_env.evaluation.bootstrap import percentile_interval, resample
from hwm_env.types import Float64Array


def ratio_estimate(part: Float64Array, whole: Float64Array) -> dict[str, float]:
    """Returns the sum of values [E] divided by that of others [E], with an interval over the paired episodes.

    A ratio whose divisor is 0 is NaN or infinite.
    """
    samples = resample(len(part), seed=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(part.mean() / whole.mean())
        interval = percentile_interval(part[samples].mean(1) / whole[samples].mean(1))
    return {"value": value, "low": interval.low, "high": interval.high}
