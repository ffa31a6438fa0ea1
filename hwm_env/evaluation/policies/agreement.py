"""Measures how well results in a learned world predict results in the true one, with intervals.

There are three questions, and an interval for each:

- over starts: the measure of these very policies' expected results, whatever the starts. Measured results are noisier
  than expected ones, which is taken into account (`draw_expected`), so that the estimate differs from the measured one;
- over families: the measure for other families of policies from the same starts, noise included, by resampling
  families, or for MMRV by leaving out one after the other;
- over both: the measure for other families from other starts, by resampling both together (the pigeonhole
  bootstrap, Owen 2007). The measure is that of expected results, without the noise of trials.

Policies of one family, such as the checkpoints of one training run, resemble each other, and are resampled together.
docs/studies/coverage.py measures how often these intervals hold the truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.bootstrap import (
    Estimate,
    Interval,
    bias_corrected_interval,
    percentile_interval,
    resample,
)
from hwm_env.evaluation.intervals import jackknife_interval
from hwm_env.evaluation.policies.expected import draw_expected
from hwm_env.evaluation.policies.measures import MEASURES, ONCE, Measure
from hwm_env.types import Float64Array

FEWEST_FAMILIES: Final = 5
"""Families that a bootstrap of families needs."""
CHUNK: Final = 250
"""Bootstrap samples that are computed together."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One measure of the agreement of two worlds."""

    value: float
    """Of the measured results; NaN if undefined."""
    over_starts: Estimate
    """Of these policies' expected results: median and interval of the noise-corrected measure."""
    over_families: Interval | None
    """`None` with fewer than FEWEST_FAMILIES families."""
    over_both: Interval | None
    """Like `over_families`, but over starts as well."""


def agreement(
    true: Float64Array, learned: Float64Array, families: Sequence[str], seed: int = 0
) -> dict[str, Agreement]:
    """Computes all measures of agreement and calibration, with intervals.

    Args:
        true: result of each policy from each start in the true world, [P, S].
        learned: the same in the learned world, [P, S].
        families: the family of each policy, [P].
        seed: of all random numbers.

    Returns:
        By the name of each of MEASURES.

    Raises:
        InvalidInputError: other shapes, or fewer than two policies.
    """
    if true.shape != learned.shape or true.ndim != 2 or len(true) < 2 or true.shape[1] < 1:
        raise InvalidInputError(
            f"expected results of two or more policies from the same starts in both worlds, [P, S], got {true.shape} "
            f"and {learned.shape}"
        )
    values = {name: float(measure(true.mean(axis=1), learned.mean(axis=1))) for name, measure in MEASURES.items()}
    over_starts = _over_starts(true, learned, seed)
    over_families, over_both = _over_families(true, learned, families, values, seed)
    return {
        name: Agreement(value, over_starts[name], over_families.get(name), over_both.get(name))
        for name, value in values.items()
    }


def leave_one_out(
    measure: Measure, true: Float64Array, learned: Float64Array, groups: Sequence[str]
) -> Interval | None:
    """Returns the smallest and the largest measure when any one group of policies is dropped.

    Args:
        measure: the measure.
        true: mean result of each policy in the true world, [P].
        learned: the same in the learned world, [P].
        groups: the group of each policy, [P]: its family, or its own name.

    Returns:
        `None` if the measure is undefined without some group, as with fewer than two policies.
    """
    labels = np.array(groups)
    kept = [labels != group for group in dict.fromkeys(groups)]
    values = [float(measure(true[rest], learned[rest])) if rest.sum() > 1 else float("nan") for rest in kept]
    return Interval(min(values), max(values)) if np.isfinite(values).all() else None


def _over_starts(true: Float64Array, learned: Float64Array, seed: int) -> dict[str, Estimate]:
    unknown = Estimate(float("nan"), float("nan"), float("nan"))
    if true.shape[1] < 2:
        return dict.fromkeys(MEASURES, unknown)
    draws = draw_expected(true, learned, seed)
    if not np.isfinite(draws).all():
        return dict.fromkeys(MEASURES, unknown)
    estimates = {}
    for name, measure in MEASURES.items():
        values = _in_chunks(measure, draws[:, 0], draws[:, 1])
        interval = percentile_interval(values)
        estimates[name] = Estimate(float(np.median(values)), interval.low, interval.high)
    return estimates


def _over_families(
    true: Float64Array, learned: Float64Array, families: Sequence[str], values: Mapping[str, float], seed: int
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """Returns the intervals by measure, over families and over both; none if there are too few families."""
    names, numbers = np.unique(np.array(families), return_inverse=True)
    if len(names) < FEWEST_FAMILIES:
        return {}, {}
    counts = _counts(len(names), seed)[:, numbers]
    starts = _counts(true.shape[1], seed + 1)
    # Sums of whole numbers are exact, so that equal results stay equal.
    others = (starts @ true.T / true.shape[1], starts @ learned.T / true.shape[1])
    means = true.mean(axis=1), learned.mean(axis=1)
    over_families, over_both = {}, {}
    for name, measure in MEASURES.items():
        again = _in_chunks(measure, *others, counts)
        if name == "mmrv":
            # A bootstrap of families alone varies too little for means of maxima. Other starts add noise, which makes
            # MMRV larger as copies of families make it smaller: no bias to correct.
            without_one = _in_chunks(measure, *means, (1 - np.eye(len(names)))[:, numbers])
            interval = jackknife_interval(values[name], without_one)
            over_families[name] = Interval(max(interval.low, 0.0), interval.high)
            over_both[name] = percentile_interval(again)
        else:
            over_families[name] = bias_corrected_interval(_in_chunks(measure, *means, counts), values[name])
            over_both[name] = bias_corrected_interval(again, values[name])
    return over_families, over_both


def _counts(count: int, seed: int) -> Float64Array:
    """Returns how often each of `count` indices is drawn in each bootstrap sample, [RESAMPLES, count]."""
    return np.stack([np.bincount(sample, minlength=count) for sample in resample(count, seed)]).astype(np.float64)


def _in_chunks(
    measure: Measure, true: Float64Array, learned: Float64Array, counts: Float64Array = ONCE
) -> Float64Array:
    """Computes a measure of many samples, [N, P], a few at a time."""
    arrays = np.broadcast_arrays(true, learned, counts)
    return np.concatenate(
        [measure(*(each[first : first + CHUNK] for each in arrays)) for first in range(0, len(arrays[0]), CHUNK)]
    )
