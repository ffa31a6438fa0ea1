"""Combines a few true trials with many learned ones: prediction-powered inference.

Angelopoulos, Duchi and Zrnic, PPI++, arXiv 2311.01453, section 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.bootstrap import Estimate
from hwm_env.evaluation.intervals import t_quantile
from hwm_env.types import Float64Array

TRUE_TRIALS: Final = (10, 20, 50)
"""Numbers of true trials for which `judge_correction` judges the correction."""
REPEATS: Final = 200
"""Random choices of the known true trials."""


def corrected_mean(learned: Float64Array, learned_tried: Float64Array, true_tried: Float64Array) -> Estimate:
    """Estimates the true success rate from many learned trials and a few true ones.

    The mean of the learned trials is corrected by its error on the cases whose true results are known. The weight of
    the learned trials is the one with the narrowest interval, so that a useless learned world does little harm. The
    interval is Student's with two more trials, one success and one failure that the learned world did not foresee: a
    normal one collapses if all of a few true trials succeed.

    Args:
        learned: results of learned trials without true counterparts, [N].
        learned_tried: results of learned trials with true counterparts, [n].
        true_tried: success (0 or 1) of those counterparts, [n].

    Raises:
        InvalidInputError: fewer than two true trials, another number of learned counterparts, or no other learned
            trial.
    """
    if len(true_tried) < 2 or len(learned_tried) != len(true_tried) or len(learned) < 1:
        raise InvalidInputError(
            "expected at least two true trials, a learned trial for each and at least one more, got "
            f"{len(true_tried)} true trials, {len(learned_tried)} learned counterparts and {len(learned)} more"
        )
    value, reach = (float(each) for each in _correct(learned, learned_tried, true_tried))
    return Estimate(value, value - reach, value + reach)


@dataclass(frozen=True, slots=True)
class Correction:
    """How good estimates from a few true trials are, with and without learned ones; means over REPEATS choices."""

    width: float
    """Width of the interval of `corrected_mean`."""
    width_alone: float
    """Width of the same interval from the true trials alone."""
    error: float
    """Root mean square difference of the corrected estimate and the success rate in all true trials."""
    error_alone: float
    """The same of the true trials' own success rate."""
    saved_trials: float
    """How many more true trials alone would need for an interval as narrow, as widths shrink with the square root of
    the number; below 0 if the learned trials do harm."""


def judge_correction(
    true: Float64Array, learned: Float64Array, more: Float64Array, known: int, seed: int = 0
) -> tuple[list[Correction], Correction]:
    """Judges the correction of success rates where all true trials are known, by forgetting most of them.

    Args:
        true: success (0 or 1) of each policy from each start in the true world, [P, S].
        learned: the same in the learned world, [P, S].
        more: success in further learned trials, [P, M]; M may be 0.
        known: number of true trials that are not forgotten, 2..S - 1.
        seed: of their choice, the same for all policies.

    Returns:
        The correction of each policy, [P]; and that of all, from root mean squares over the policies.
    """
    starts = true.shape[1]
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(starts), (REPEATS, 1)), axis=1)
    kept, rest = orders[:, :known], orders[:, known:]
    by_policy = np.empty((4, len(true)))
    # Policy by policy, to save memory.
    for policy, (tried, imagined, further) in enumerate(zip(true, learned, more, strict=True)):
        unpaired = np.concatenate([imagined[rest], np.broadcast_to(further, (REPEATS, len(further)))], axis=1)
        corrected, reach = _correct(unpaired, imagined[kept], tried[kept])  # [REPEATS]
        alone, reach_alone = _correct(np.zeros_like(unpaired), np.zeros_like(imagined[kept]), tried[kept])
        errors = [2 * reach, 2 * reach_alone, corrected - tried.mean(), alone - tried.mean()]
        by_policy[:, policy] = (np.stack(errors) ** 2).mean(axis=1)
    return [_correction(each, known) for each in by_policy.T], _correction(by_policy.mean(axis=1), known)


def _correction(mean_squares: Float64Array, known: int) -> Correction:
    width, width_alone, error, error_alone = np.sqrt(mean_squares).tolist()
    return Correction(width, width_alone, error, error_alone, known * ((width_alone / width) ** 2 - 1))


def _correct(learned: Float64Array, learned_tried: Float64Array, true_tried: Float64Array) -> Sequence[Float64Array]:
    """Returns corrected means and the reach of their intervals, [...], for trials in the last axis."""
    known, more = true_tried.shape[-1], learned.shape[-1]
    spread = np.concatenate([learned_tried, learned], axis=-1).var(axis=-1)
    true_apart = true_tried - true_tried.mean(axis=-1, keepdims=True)
    learned_apart = learned_tried - learned_tried.mean(axis=-1, keepdims=True)
    together = (true_apart * learned_apart).sum(axis=-1) / (known - 1)
    weight = np.clip(together / np.where(spread > 0, (1 + known / more) * spread, np.inf), 0, 1)
    value = weight * learned.mean(axis=-1) + true_tried.mean(axis=-1) - weight * learned_tried.mean(axis=-1)
    # Two more trials with the known ones' mean learned result, of which one succeeds and one fails.
    rate = true_tried.mean(axis=-1)
    squares = ((true_apart - weight[..., None] * learned_apart) ** 2).sum(axis=-1)
    squares += rate**2 + (1 - rate) ** 2 - (1 - 2 * rate) ** 2 / (known + 2)
    variance = weight**2 * learned.var(axis=-1) / more + squares / ((known + 1) * (known + 2))
    return value, t_quantile(known + 1) * np.sqrt(variance)
