"""Measures of how well results in a learned world predict those in the true one: correlations, MMRV, calibration.

Pearson and MMRV are the measures of Li et al., "Evaluating Real-World Robot Manipulation Policies in Simulation"
(SIMPLER), arXiv 2405.05941, section IV. The true world is the reference world, or a real one.

All measures take `true`, then `learned`: mean results of P policies, float64 [..., P], with any leading axes, such as
one of bootstrap samples; and how many times each policy counts, 0 or more, in an array that is broadcast to them. They
return [...].
"""

from typing import Final, Protocol

import numpy as np

from hwm_env.types import Float64Array

ONCE: Final[Float64Array] = np.ones(1)
"""Each policy counts once."""
TINY: Final = 1e-15
"""Variances below this are rounding errors of equal results."""


class Measure(Protocol):
    """Compares the results of policies in two worlds; see the arguments above."""

    def __call__(self, true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE) -> Float64Array:
        """Returns the measure, [...]."""
        ...


def pearson(true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE) -> Float64Array:
    """Returns the linear correlation of P policies' results, in -1..1; NaN if they are all equal in one world."""
    variances = _covariance(true, true, counts) * _covariance(learned, learned, counts)
    return _ratio(_covariance(true, learned, counts), np.sqrt(variances))


def spearman(true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE) -> Float64Array:
    """Returns the correlation of the policies' ranks (ties share their mean rank), in -1..1; NaN like `pearson`."""
    return pearson(_ranks(true, counts), _ranks(learned, counts), counts)


def mmrv(true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE) -> Float64Array:
    """Returns the mean maximum rank violation, in the unit of the results; 0 is best.

    It is the mean over policies i of max over j of |true_i - true_j|, where only those j count for which
    (learned_i < learned_j) != (true_i < true_j): equations 1 and 2 of SIMPLER, section IV. The measure is not
    symmetric: violations are differences in the true world, so the order of the arguments matters. SIMPLER's code takes
    its simulated results first, and compares with > instead of <, which differs for ties only.
    """
    apart = np.abs(true[..., :, None] - true[..., None, :])
    differs = (true[..., :, None] < true[..., None, :]) != (learned[..., :, None] < learned[..., None, :])
    present = np.broadcast_to(counts, true.shape)[..., None, :] > 0
    return _mean((apart * (differs & present)).max(axis=-1), counts)


def bias(true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE) -> Float64Array:
    """Returns the mean difference of results, learned minus true: above 0 if the learned world is too kind."""
    return _mean(learned - true, counts)


def slope(true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE) -> Float64Array:
    """Returns the slope of the line that predicts true results from learned ones by least squares; 1 is calibrated.

    NaN if all learned results are equal. Noise of the learned results makes it smaller.
    """
    return _ratio(_covariance(true, learned, counts), _covariance(learned, learned, counts))


def intercept(true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE) -> Float64Array:
    """Returns the true result that the line of `slope` predicts for a learned result of 0; 0 is calibrated."""
    return _mean(true, counts) - slope(true, learned, counts) * _mean(learned, counts)


def winners(true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE) -> Float64Array:
    """Returns how often the learned world names the better of two policies that differ in the true world, 0..1.

    A tie in the learned world is right by half. NaN if no two policies differ in the true world.
    """
    return _named_rightly(true, learned, counts, weighted=False)


def weighted_winners(true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE) -> Float64Array:
    """Returns the same as `winners`, where pairs count in proportion to their difference in the true world."""
    return _named_rightly(true, learned, counts, weighted=True)


AGREEMENT: Final[dict[str, Measure]] = {"pearson": pearson, "spearman": spearman, "mmrv": mmrv}
CALIBRATION: Final[dict[str, Measure]] = {"bias": bias, "slope": slope, "intercept": intercept}
WINNERS: Final[dict[str, Measure]] = {"winners": winners, "weighted_winners": weighted_winners}
MEASURES: Final = AGREEMENT | CALIBRATION | WINNERS
DEFINITIONS: Final = {
    "mmrv": "MMRV(true, learned) = mean over i of max over j of |true_i - true_j| if (learned_i < learned_j) != "
    "(true_i < true_j), else 0",
    "bias": "mean over policies of learned - true",
    "calibration": "true = intercept + slope * learned, by least squares over policies",
    "winners": "share of pairs of policies with different true results whose learned results have the same sign of "
    "difference; a tie is right by half; weighted by |true_i - true_j| in weighted_winners",
}
"""Formulas for reports."""


def _named_rightly(true: Float64Array, learned: Float64Array, counts: Float64Array, *, weighted: bool) -> Float64Array:
    a, b = (each[..., :, None] - each[..., None, :] for each in (true, learned))
    times = np.broadcast_to(counts, true.shape)
    weights = times[..., :, None] * times[..., None, :] * (np.abs(a) if weighted else a != 0)
    right = (1 + np.sign(a) * np.sign(b)) / 2
    return _ratio((weights * right).sum(axis=(-2, -1)), weights.sum(axis=(-2, -1)))


def _ranks(values: Float64Array, counts: Float64Array) -> Float64Array:
    """Returns ranks along the last axis, from 0; ties share their mean rank."""
    times = np.broadcast_to(counts, values.shape)[..., None, :]
    below = ((values[..., :, None] > values[..., None, :]) * times).sum(axis=-1)
    ties = ((values[..., :, None] == values[..., None, :]) * times).sum(axis=-1)
    ranks: Float64Array = below + (ties - 1) / 2
    return ranks


def _mean(values: Float64Array, counts: Float64Array) -> Float64Array:
    times = np.broadcast_to(counts, values.shape)
    mean: Float64Array = (values * times).sum(axis=-1) / times.sum(axis=-1)
    return mean


def _covariance(a: Float64Array, b: Float64Array, counts: Float64Array) -> Float64Array:
    return _mean((a - _mean(a, counts)[..., None]) * (b - _mean(b, counts)[..., None]), counts)


def _ratio(a: Float64Array, b: Float64Array) -> Float64Array:
    """Divides; NaN where the divisor is 0 but for rounding."""
    known = b > TINY
    return np.where(known, a / np.where(known, b, 1.0), np.nan)
