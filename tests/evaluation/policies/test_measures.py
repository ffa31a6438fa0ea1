"""Measures of agreement, against naive loops, closed forms and published values."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from hwm_env.evaluation.policies.measures import (
    MEASURES,
    bias,
    intercept,
    mmrv,
    pearson,
    slope,
    spearman,
    weighted_winners,
    winners,
)


def naive_mmrv(true: Any, learned: Any) -> float:
    """Equations 1 and 2 of arXiv 2405.05941, written out."""
    worst = [0.0] * len(true)
    for i, j in itertools.product(range(len(true)), repeat=2):
        if (learned[i] < learned[j]) != (true[i] < true[j]):
            worst[i] = max(worst[i], abs(true[i] - true[j]))
    return sum(worst) / len(worst)


def naive_winners(true: Any, learned: Any) -> tuple[float, float]:
    pairs = [(i, j) for i, j in itertools.permutations(range(len(true)), 2) if true[i] > true[j]]
    right = [1.0 if learned[i] > learned[j] else 0.5 if learned[i] == learned[j] else 0.0 for i, j in pairs]
    weights = [true[i] - true[j] for i, j in pairs]
    return float(np.mean(right)), float(np.average(right, weights=weights))


@pytest.mark.parametrize("seed", range(20))
def test_measures_equal_their_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Rounded, so that there are ties.
    true, learned = np.round(rng.random((2, 12)), 1)
    assert mmrv(true, learned) == pytest.approx(naive_mmrv(true.tolist(), learned.tolist()))
    assert pearson(true, learned) == pytest.approx(np.corrcoef(true, learned)[0, 1])
    ranks = [[sorted(x).index(v) + (list(x).count(v) - 1) / 2 for v in x] for x in (true.tolist(), learned.tolist())]
    assert spearman(true, learned) == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert (slope(true, learned), intercept(true, learned)) == pytest.approx(np.polyfit(learned, true, 1))
    assert bias(true, learned) == pytest.approx(learned.mean() - true.mean())
    assert (winners(true, learned), weighted_winners(true, learned)) == pytest.approx(
        naive_winners(true.tolist(), learned.tolist())
    )


@pytest.mark.parametrize("name", list(MEASURES))
def test_counts_are_copies(name: str) -> None:
    rng = np.random.default_rng(0)
    true, learned = np.round(rng.random((2, 7)), 1)
    counts = rng.integers(3, size=(5, 7))
    whole = MEASURES[name](np.tile(true, (5, 1)), np.tile(learned, (5, 1)), counts.astype(float))
    expected = [MEASURES[name](true.repeat(each), learned.repeat(each)) for each in counts]
    np.testing.assert_allclose(whole, expected)


def test_published_rates_have_the_mmrv_that_follows_by_hand() -> None:
    """Rates of six policies at "pick coke can", from SIMPLER's code (simpler_env/utils/metrics.py, visual matching).

    The simulation ranks RT-1 (converged) above RT-2-X and RT-1 (15 %), and RT-2-X above RT-1 (15 %).
    """
    real = np.array([0.907, 0.853, 0.920, 0.760, 0.133, 0.293])
    simulated = np.array([0.787, 0.857, 0.710, 0.567, 0.027, 0.170])
    assert mmrv(real, simulated) == pytest.approx((0.054 + 0.067 + 0.067) / 6)
    # The order of the arguments matters: simulated differences are 0.077, 0.147 and 0.147.
    assert mmrv(simulated, real) == pytest.approx((0.077 + 0.147 + 0.147) / 6)


def test_a_monotonous_world_ranks_rightly_but_not_linearly() -> None:
    true = np.linspace(0, 1, 10)
    assert spearman(true, true**5) == pytest.approx(1.0)
    assert pearson(true, true**5) < 0.9
    assert mmrv(true, true**5) == 0.0
    assert winners(true, true**5) == 1.0
    assert spearman(true, -true) == pytest.approx(-1.0)
    assert weighted_winners(true, -true) == 0.0


def test_worlds_that_tell_no_policies_apart_have_no_correlation() -> None:
    assert math.isnan(pearson(np.full(4, 0.1), np.arange(4.0)))
    assert math.isnan(slope(np.arange(4.0), np.full(4, 0.1)))
    assert math.isnan(winners(np.ones(4), np.arange(4.0)))


def test_a_kind_world_has_a_positive_bias() -> None:
    true = np.array([0.2, 0.4, 0.6])
    assert bias(true, true + 0.1) == pytest.approx(0.1)
    assert (slope(true, true / 2), intercept(true, true + 0.1)) == (pytest.approx(2.0), pytest.approx(-0.1))
