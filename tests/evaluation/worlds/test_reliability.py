"""Measures of probabilities against their definitions and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.evaluation.worlds.reliability import (
    auroc_within,
    brier_score,
    expected_calibration_error,
    reliability_bins,
    with_interval,
)


@given(rows=st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 2)), min_size=1, max_size=30))
def test_auroc_counts_the_pairs_of_a_group(rows: list[tuple[int, bool, int]]) -> None:
    scores, wrong, groups = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [
        1.0 if mine > other else 0.5 if mine == other else 0.0
        for mine, is_wrong, group in rows
        for other, other_is_wrong, other_group in rows
        if is_wrong and not other_is_wrong and group == other_group
    ]
    measured = auroc_within(scores.astype(np.float64), wrong, groups)
    if pairs:
        assert measured == pytest.approx(np.mean(pairs))
    else:
        assert measured is None


def test_brier_score_is_the_mean_square() -> None:
    wrong = np.array([True, False, True, False])
    assert brier_score(np.array([1.0, 0.0, 1.0, 0.0]), wrong) == 0.0
    assert brier_score(np.full(4, 0.5), wrong) == 0.25
    assert brier_score(np.array([0.8, 0.4, 1.0, 0.0]), wrong) == pytest.approx((0.04 + 0.16) / 4)


def test_bins_hold_every_prediction_once() -> None:
    probabilities = np.array([0.0, 0.05, 0.1, 0.55, 0.99, 1.0])
    bins = reliability_bins(probabilities, np.array([False, True, False, True, True, True]))
    assert [part.count for part in bins] == [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert (bins[0].mean_probability, bins[0].share_wrong) == (pytest.approx(0.025), 0.5)
    assert (bins[2].mean_probability, bins[2].share_wrong) == (None, None)
    assert [(part.low, part.high) for part in bins] == [(i / 10, (i + 1) / 10) for i in range(10)]


def test_calibration_error_is_the_weighted_gap() -> None:
    probabilities = np.array([0.25, 0.25, 0.25, 0.25, 0.95, 0.95])
    wrong = np.array([True, False, False, False, True, False])
    assert expected_calibration_error(probabilities, wrong) == pytest.approx(2 / 6 * 0.45)


def test_probabilities_that_mean_what_they_say_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(200_000)
    wrong = rng.random(200_000) < probabilities
    assert expected_calibration_error(probabilities, wrong) < 0.006
    assert brier_score(probabilities, wrong) == pytest.approx(1 / 6, abs=0.002)
    assert auroc_within(probabilities, wrong, np.zeros(200_000, np.int64)) == pytest.approx(5 / 6, abs=0.003)


def test_an_interval_is_that_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    interval = with_interval(lambda episodes: float(values[episodes].mean()), 400, seed=0)
    assert interval["value"] == pytest.approx(values.mean())
    assert (interval["low"], interval["high"]) == pytest.approx(
        (values.mean() - 1.96 * values.std() / 20, values.mean() + 1.96 * values.std() / 20), abs=0.02
    )
    assert interval == with_interval(lambda episodes: float(values[episodes].mean()), 400, seed=0)


def test_what_is_never_defined_has_no_interval() -> None:
    assert with_interval(lambda _: None, 4, seed=0) == {"value": None, "low": None, "high": None}
