"""Measures how well results in a learned world predict results in the true one: correlations and MMRV, with intervals.

These are the measures of simulated policy evaluation in Li et al., "Evaluating Real-World Robot Manipulation Policies
in Simulation" (SIMPLER), arXiv 2405.05941, section IV. The true world is the reference world, or a real one.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.bootstrap import Estimate, percentile_interval, resample
from hwm_env.types import Float64Array

Measure = Callable[[Float64Array, Float64Array], float]


def pearson(true: Float64Array, learned: Float64Array) -> float:
    """Returns the linear correlation of P policies' results, in -1..1; NaN if they are all equal in one world.

    Args:
        true: mean result of each policy in the true world, [P].
        learned: the same in the learned world, [P].
    """
    x, y = true - true.mean(), learned - learned.mean()
    spread = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / spread) if spread > 0 else float("nan")


def spearman(true: Float64Array, learned: Float64Array) -> float:
    """Returns the correlation of the policies' ranks (ties share their mean rank), in -1..1.

    Arguments as in `pearson`.
    """
    return pearson(_ranks(true), _ranks(learned))


def mmrv(true: Float64Array, learned: Float64Array) -> float:
    """Returns the mean maximum rank violation, in the unit of the results; 0 is best.

    The violation of a policy is the largest difference of true results between it and a policy that the learned world
    ranks on its other side (SIMPLER, section IV). Arguments as in `pearson`.
    """
    differs = (true[:, None] < true) != (learned[:, None] < learned)
    return float((np.abs(true[:, None] - true) * differs).max(axis=1).mean())


MEASURES: Final[dict[str, Measure]] = {"pearson": pearson, "spearman": spearman, "mmrv": mmrv}


def agreement(true: Float64Array, learned: Float64Array, seed: int = 0) -> dict[str, Estimate]:
    """Computes all measures, with percentile-bootstrap intervals over the starts.

    The policies are fixed; the starts are resampled, the same ones for all policies and both worlds.

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
    samples = resample(true.shape[1], seed)
    estimates = {}
    for name, measure in MEASURES.items():
        values = np.array([measure(true[:, starts].mean(1), learned[:, starts].mean(1)) for starts in samples])
        estimates[name] = Estimate(measure(true.mean(1), learned.mean(1)), *percentile_interval(values))
    return estimates


def corrected_mean(learned: Float64Array, learned_tried: Float64Array, true_tried: Float64Array) -> Estimate:
    """Estimates the true mean from many learned trials and a few true ones, by prediction-powered inference.

    The mean of the learned trials is corrected by its error on the cases whose true results are known. The weight of
    the learned trials is the one with the narrowest interval, so that a useless learned world does no harm
    (Angelopoulos et al., PPI++, arXiv 2311.01453, section 6). The interval is normal, which is a little too narrow for
    a few dozen true trials.

    Args:
        learned: results of learned trials without true counterparts, [N].
        learned_tried: results of learned trials with true counterparts, [n].
        true_tried: results of those counterparts, [n].

    Raises:
        InvalidInputError: fewer than two true trials, another number of learned counterparts, or no other learned
            trial.
    """
    if len(true_tried) < 2 or len(learned_tried) != len(true_tried) or len(learned) < 1:
        raise InvalidInputError(
            "expected at least two true trials, a learned trial for each and at least one more, got "
            f"{len(true_tried)} true trials, {len(learned_tried)} learned counterparts and {len(learned)} more"
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
