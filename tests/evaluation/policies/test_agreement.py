"""Agreement of two worlds, against naive loops, closed forms and repeated experiments."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.bootstrap import mean_estimate
from hwm_env.evaluation.policies.agreement import agreement, corrected_mean, mmrv, pearson, spearman


def naive_mmrv(true: Any, learned: Any) -> float:
    """Equations 1 and 2 of arXiv 2405.05941, written out."""
    worst = [0.0] * len(true)
    for i, j in itertools.product(range(len(true)), repeat=2):
        if (learned[i] < learned[j]) != (true[i] < true[j]):
            worst[i] = max(worst[i], abs(true[i] - true[j]))
    return sum(worst) / len(worst)


@pytest.mark.parametrize("seed", range(20))
def test_measures_equal_their_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Rounded, so that there are ties.
    true, learned = np.round(rng.random((2, 12)), 1)
    assert mmrv(true, learned) == pytest.approx(naive_mmrv(true.tolist(), learned.tolist()))
    assert pearson(true, learned) == pytest.approx(np.corrcoef(true, learned)[0, 1])
    ranks = [[sorted(x).index(v) + (list(x).count(v) - 1) / 2 for v in x] for x in (true.tolist(), learned.tolist())]
    assert spearman(true, learned) == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_a_monotonous_world_ranks_rightly_but_not_linearly() -> None:
    true = np.linspace(0, 1, 10)
    assert spearman(true, true**5) == pytest.approx(1.0)
    assert pearson(true, true**5) < 0.9
    assert mmrv(true, true**5) == 0.0
    assert spearman(true, -true) == pytest.approx(-1.0)


def test_worlds_that_tell_no_policies_apart_have_no_correlation() -> None:
    assert math.isnan(pearson(np.ones(4), np.arange(4.0)))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        estimate = mean_estimate((rng.random(60) < 0.4).astype(float), seed=trial)
        covered += estimate.low <= 0.4 <= estimate.high
    assert 88 <= covered <= 99


def test_intervals_of_correlations_hold_their_values() -> None:
    rng = np.random.default_rng(0)
    skills = np.linspace(0.1, 0.9, 8)[:, None]
    few, many = (
        agreement(*((rng.random((2, 8, starts)) < skills).astype(float)), seed=0)  # Equally skilled in both worlds.
        for starts in (20, 320)
    )
    for name, expected in (("pearson", 1.0), ("spearman", 1.0), ("mmrv", 0.0)):
        assert few[name].low <= few[name].value <= few[name].high
        assert many[name].high - many[name].low < few[name].high - few[name].low
        assert many[name].value == pytest.approx(expected, abs=0.1)


def test_paired_starts_are_resampled_together() -> None:
    """The learned world is right about every start, so that no resampling changes the correlation."""
    rng = np.random.default_rng(0)
    true = rng.random((6, 30))
    estimates = agreement(true, true)
    assert (estimates["pearson"].low, estimates["pearson"].value) == (pytest.approx(1.0), pytest.approx(1.0))
    assert estimates["mmrv"].high == 0.0


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((1, 4), (1, 4)), ((4,), (4,)), ((3, 0), (3, 0))])
def test_results_that_cannot_be_compared_are_refused(shapes: Any) -> None:
    with pytest.raises(InvalidInputError, match="same starts in both worlds"):
        agreement(np.zeros(shapes[0]), np.zeros(shapes[1]))


@pytest.mark.parametrize(("useful", "narrower"), [(0.95, 0.75), (0.0, 1.05)])
def test_a_few_true_trials_correct_a_biased_world(useful: float, narrower: float) -> None:
    """The learned world succeeds far too often. Its trials narrow the interval if they are informative, do not widen it
    otherwise, and keep its coverage."""
    rng = np.random.default_rng(1)
    widths, alone, covered = [], [], 0
    for _ in range(300):
        true = (rng.random(1040) < 0.5).astype(float)
        noise = (rng.random(1040) < 0.5).astype(float)
        learned = np.where(rng.random(1040) < useful, true, noise) + 0.3
        estimate = corrected_mean(learned[40:], learned[:40], true[:40])
        covered += estimate.low <= 0.5 <= estimate.high
        widths.append(estimate.high - estimate.low)
        alone.append(2 * 1.96 * true[:40].std(ddof=1) / math.sqrt(40))
    assert np.mean(widths) < narrower * np.mean(alone)
    # The normal interval is a little too narrow for few true trials.
    assert covered >= 0.87 * 300


def test_without_true_trials_nothing_is_corrected() -> None:
    with pytest.raises(InvalidInputError, match="at least two true trials"):
        corrected_mean(np.ones(5), np.ones(1), np.ones(1))
