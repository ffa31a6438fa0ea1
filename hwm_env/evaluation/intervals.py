"""Intervals without resampling: Student's t, Wilson's for success rates, Fisher's for correlations, the jackknife."""

import math
from statistics import NormalDist
from typing import Final

from hwm_env.evaluation.bootstrap import LEVEL, Estimate, Interval
from hwm_env.types import Float64Array

Z: Final = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Normal quantile of two-sided 95 % intervals, 1.96."""


def t_quantile(degrees: int) -> float:
    """Returns the quantile of Student's t for two-sided 95 % intervals.

    Args:
        degrees: degrees of freedom, at least 1.
    """
    low, high = 0.0, 1.0
    while t_within(high, degrees) < LEVEL:
        high *= 2
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, degrees) < LEVEL else (low, middle)
    return (low + high) / 2


def t_within(reach: float, degrees: int) -> float:
    """Returns the probability that Student's t lies within -reach..reach (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(reach / math.sqrt(degrees))
    cos, sin = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term, total = (cos, cos) if odd else (1.0, 1.0)
    if degrees == 1:
        total = 0.0
    for power in range(2 + odd, degrees - 1, 2):
        term *= cos**2 * (power - 1) / power
        total += term
    return 2 / math.pi * (angle + sin * total) if odd else sin * total


def success_estimate(successes: int, trials: int) -> Estimate:
    """Returns a success rate with Wilson's interval, which has a width even if all trials succeed or fail.

    Args:
        successes: number of trials that succeeded.
        trials: number of independent trials, at least 1.
    """
    rate, spread = successes / trials, Z**2 / trials
    centre = (rate + spread / 2) / (1 + spread)
    reach = Z / (1 + spread) * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials))
    return Estimate(rate, max(centre - reach, 0.0), min(centre + reach, 1.0))


def fisher_interval(correlation: float, size: int, *, ranks: bool = False) -> Interval:
    """Returns Fisher's z interval of a correlation.

    Args:
        correlation: the correlation, -1..1.
        size: number of independent pairs; NaN below four.
        ranks: whether it is Spearman's, which is more variable (Bonett and Wright 2000).
    """
    if size < 4 or not abs(correlation) <= 1:
        return Interval(math.nan, math.nan)
    if abs(correlation) > 1 - 1e-12:
        return Interval(correlation, correlation)
    reach = Z * math.sqrt((1 + correlation**2 / 2 if ranks else 1) / (size - 3))
    centre = math.atanh(correlation)
    return Interval(math.tanh(centre - reach), math.tanh(centre + reach))


def jackknife_interval(estimate: float, values: Float64Array) -> Interval:
    """Returns Student's interval with the jackknife's standard error (Tukey 1958).

    Args:
        estimate: the statistic of the data.
        values: the statistic without one of the N independent parts of the data each, [N], two or more.
    """
    count = len(values)
    reach = t_quantile(count - 1) * math.sqrt((count - 1) * float(values.var()))
    return Interval(estimate - reach, estimate + reach)
