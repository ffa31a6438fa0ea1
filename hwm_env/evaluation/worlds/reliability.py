"""How good predicted probabilities are: whether they tell wrong from right, and whether they mean what they say."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwm_env.types import BoolArray, Float64Array, Int64Array

NUM_BINS = 10
BOOTSTRAPS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Predictions of about the same probability."""

    low: float
    high: float
    """The last bin includes its upper end."""
    count: int
    mean_probability: float | None
    """None where there are no predictions."""
    share_wrong: float | None


def auroc_within(scores: Float64Array, wrong: BoolArray, groups: Int64Array) -> float | None:
    """The share of pairs of a wrong and a right one of a group in which the wrong one has the higher score.

    Ties count half. In a single group this is the area under the receiver operating characteristic.

    Args:
        scores: float [N].
        wrong: bool [N].
        groups: int [N].

    Returns:
        0.5 for scores that say nothing; None where there is no such pair.
    """
    won, pairs = 0.0, 0
    for group in np.unique(groups):
        of_group = groups == group
        right = np.sort(scores[of_group & ~wrong])
        asked = scores[of_group & wrong]
        below, not_above = np.searchsorted(right, asked, "left"), np.searchsorted(right, asked, "right")
        won += float((below + not_above).sum()) / 2.0
        pairs += len(asked) * len(right)
    return won / pairs if pairs else None


def brier_score(probabilities: Float64Array, wrong: BoolArray) -> float:
    """Mean squared difference of probability and outcome (Brier 1950); 0.25 for always saying 0.5."""
    return float(np.square(probabilities - wrong).mean())


def reliability_bins(probabilities: Float64Array, wrong: BoolArray) -> list[ReliabilityBin]:
    """Ten bins of equal width."""
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
    """Mean gap of probability and share over the ten bins, weighted by their counts (Naeini et al. 2015)."""
    gaps = [
        part.count * abs(part.mean_probability - part.share_wrong)
        for part in reliability_bins(probabilities, wrong)
        if part.mean_probability is not None and part.share_wrong is not None
    ]
    return sum(gaps) / len(probabilities)


def with_interval(
    measure: Callable[[Int64Array], float | None], num_episodes: int, seed: int
) -> dict[str, float | None]:
    """A measurement with its 95 % interval, from episodes drawn anew with replacement.

    Args:
        measure: of the episodes with these indices, repeats included.
        num_episodes: that there are.
        seed: of the draws.

    Returns:
        value, low and high; None where it is not defined.
    """
    rng = np.random.default_rng(seed)
    drawn = [measure(rng.integers(num_episodes, size=num_episodes)) for _ in range(BOOTSTRAPS)]
    known = [value for value in drawn if value is not None]
    low, high = np.percentile(known, [2.5, 97.5]).tolist() if known else (None, None)
    return {"value": measure(np.arange(num_episodes)), "low": low, "high": high}
