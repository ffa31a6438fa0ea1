"""Measures of predicted error probabilities: discrimination (AUROC) and calibration (Brier score, reliability)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwm_env.types import BoolArray, Float64Array, Int64Array

NUM_BINS = 10
BOOTSTRAPS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """The predictions in one interval of probabilities."""

    low: float
    high: float
    """Upper end, excluded except in the last bin."""
    count: int
    """Number of predictions."""
    mean_probability: float | None
    """Mean predicted probability; `None` without predictions."""
    share_wrong: float | None
    """Share of predictions that were wrong; `None` without predictions."""


def auroc_within(scores: Float64Array, wrong: BoolArray, groups: Int64Array) -> float | None:
    """Returns the share of pairs, a wrong and a right one of the same group, whose wrong one has the higher score.

    Ties count half. With a single group this is the area under the receiver operating characteristic.

    Args:
        scores: predicted scores, float [N].
        wrong: outcomes, bool [N].
        groups: group of each prediction, int [N].

    Returns:
        0..1, 0.5 for uninformative scores; `None` if there is no such pair.
    """
    won, pairs = 0.0, 0
    for group in np.unique(groups):
        in_group = groups == group
        right_scores = np.sort(scores[in_group & ~wrong])
        wrong_scores = scores[in_group & wrong]
        below = np.searchsorted(right_scores, wrong_scores, "left")
        not_above = np.searchsorted(right_scores, wrong_scores, "right")
        won += float((below + not_above).sum()) / 2.0
        pairs += len(wrong_scores) * len(right_scores)
    return won / pairs if pairs else None


def brier_score(probabilities: Float64Array, wrong: BoolArray) -> float:
    """Returns the mean squared difference of probability and outcome (Brier 1950); 0.25 if all are 0.5."""
    return float(np.square(probabilities - wrong).mean())


def reliability_bins(probabilities: Float64Array, wrong: BoolArray) -> list[ReliabilityBin]:
    """Sorts predictions into ten bins of equal width."""
    index = np.minimum((probabilities * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = []
    for number in range(NUM_BINS):
        inside = index == number
        count = int(inside.sum())
        bins.append(
            ReliabilityBin(
                low=number / NUM_BINS,
                high=(number + 1) / NUM_BINS,
                count=count,
                mean_probability=float(probabilities[inside].mean()) if count else None,
                share_wrong=float(wrong[inside].mean()) if count else None,
            )
        )
    return bins


def expected_calibration_error(probabilities: Float64Array, wrong: BoolArray) -> float:
    """Returns the mean gap between probability and share over ten bins, weighted by counts (Naeini et al. 2015)."""
    gaps = [
        part.count * abs(part.mean_probability - part.share_wrong)
        for part in reliability_bins(probabilities, wrong)
        if part.mean_probability is not None and part.share_wrong is not None
    ]
    return sum(gaps) / len(probabilities)


def with_interval(
    measure: Callable[[Int64Array], float | None], num_episodes: int, seed: int
) -> dict[str, float | None]:
    """Returns a measure with its 95 % percentile-bootstrap interval over the episodes.

    Args:
        measure: computes the measure of the episodes with the given indices, which may repeat.
        num_episodes: number of episodes.
        seed: seed of the resampling.

    Returns:
        `value`, `low` and `high`; `None` where undefined.
    """
    rng = np.random.default_rng(seed)
    drawn = [measure(rng.integers(num_episodes, size=num_episodes)) for _ in range(BOOTSTRAPS)]
    known = [value for value in drawn if value is not None]
    low, high = np.percentile(known, [2.5, 97.5]).tolist() if known else (None, None)
    return {"value": measure(np.arange(num_episodes)), "low": low, "high": high}
