"""How well results in the learned world foretell results in the true one: correlations and the MMRV, with intervals.

The measures are those by which simulated evaluation of robot policies is judged in Li et al., "Evaluating Real-World
Robot Manipulation Policies in Simulation" (SIMPLER), arXiv 2405.05941, section IV.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.types import Float64Array

Measure = Callable[[Float64Array, Float64Array], float]

RESAMPLES: Final = 2000
LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def pearson(true: Float64Array, learned: Float64Array) -> float:
    """Linear correlation of P policies' results, in -1..1; NaN where one world tells no policies apart.

    Args:
        true: mean result of each policy in the true world, [P].
        learned: the same in the learned world, [P].
    """
    x, y = true - true.mean(), learned - learned.mean()
    spread = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / spread) if spread > 0 else float("nan")


def spearman(true: Float64Array, learned: Float64Array) -> float:
    """Correlation of the policies' ranks (ties share their mean rank), in -1..1; arguments as in `pearson`."""
    return pearson(_ranks(true), _ranks(learned))


def mmrv(true: Float64Array, learned: Float64Array) -> float:
    """Mean maximum rank violation: for each policy the largest true difference to one that the learned world orders the
    other way round, on the average; 0 is best. Arguments as in `pearson`."""
    differs = (true[:, None] < true) != (learned[:, None] < learned)
    return float((np.abs(true[:, None] - true) * differs).max(axis=1).mean())


MEASURES: Final[dict[str, Measure]] = {"pearson": pearson, "spearman": spearman, "mmrv": mmrv}


def agreement(true: Float64Array, learned: Float64Array, seed: int = 0) -> dict[str, Estimate]:
    """All measures, with percentile-bootstrap intervals over the starts.

    Policies are fixed, what is resampled are starts: always the same ones for all policies and both worlds, since all
    were judged from the same.

    Args:
        true: result of each policy from each start in the true world, [P, S].
        learned: the same in the learned world, [P, S].
        seed: of the resampling.

    Raises:
        InvalidInputError: other shapes, or fewer than two policies.
    """
    if true.shape != learned.shape or true.ndim != 2 or len(true) < 2 or true.shape[1] < 1:
        raise InvalidInputError(
            f"expected results of two or more policies from the same starts in both worlds, [P, S], got {true.shape} "
            f"and {learned.shape}"
        )
    samples = _resampled(true.shape[1], seed)
    estimates = {}
    for name, measure in MEASURES.items():
        values = np.array([measure(true[:, rows].mean(1), learned[:, rows].mean(1)) for rows in samples])
        estimates[name] = Estimate(measure(true.mean(1), learned.mean(1)), *_interval(values))
    return estimates


def mean_estimate(results: Float64Array, seed: int = 0) -> Estimate:
    """Mean of results, [S], with its bootstrap interval."""
    means = results[_resampled(len(results), seed)].mean(1)
    return Estimate(float(results.mean()), *_interval(means))


def corrected_mean(learned: Float64Array, learned_tried: Float64Array, true_tried: Float64Array) -> Estimate:
    """The true mean, from many learned trials and a few true ones: prediction-powered inference.

    The learned world's mean is corrected by what it was off where the truth is known. How much the learned trials
    count is chosen for the narrowest interval, so that a useless learned world does no harm (Angelopoulos et al.,
    PPI++, arXiv 2311.01453, section 6). The interval is the normal one, a little too narrow for a few dozen true
    trials.

    Args:
        learned: results of learned trials alone, [N].
        learned_tried: results of learned trials whose true counterparts are known, [n].
        true_tried: those, [n].

    Raises:
        InvalidInputError: fewer than two true trials, or not one learned trial for each.
    """
    if len(true_tried) < 2 or len(learned_tried) != len(true_tried) or len(learned) < 1:
        raise InvalidInputError(
            "a corrected mean needs at least two true trials, a learned one for each, and one more, got "
            f"{len(true_tried)} true and {len(learned_tried)} learned ones, and {len(learned)} more"
        )
    known, more = len(true_tried), len(learned)
    spread = float(np.var(np.concatenate([learned_tried, learned])))
    together = float(np.cov(learned_tried, true_tried)[0, 1])
    weight = min(max(together / ((1 + known / more) * spread), 0.0), 1.0) if spread > 0 else 0.0
    value = weight * learned.mean() + (true_tried - weight * learned_tried).mean()
    variance = weight**2 * learned.var() / more + (true_tried - weight * learned_tried).var(ddof=1) / known
    reach = 1.96 * float(np.sqrt(variance))
    return Estimate(float(value), float(value - reach), float(value + reach))


def _ranks(values: Float64Array) -> Float64Array:
    below = (values[:, None] > values).sum(1)
    ties = (values[:, None] == values).sum(1)
    ranks: Float64Array = below + (ties - 1) / 2
    return ranks


def _resampled(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))


def _interval(values: Float64Array) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
