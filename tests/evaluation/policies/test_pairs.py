"""Comparisons of two policies, against closed forms and repeated experiments."""

import math

import numpy as np
import pytest

from hwm_env.evaluation.bootstrap import Estimate
from hwm_env.evaluation.policies.pairs import PolicyPair, clear_winners, compare_pairs, paired_difference


def test_the_interval_is_walds_with_half_a_trial_more_of_each_outcome() -> None:
    """Agresti and Min (2005), with 9 and 2 discordant of 20 pairs."""
    first, second = np.zeros(20), np.zeros(20)
    first[:9], second[9:11] = 1, 1
    b, c, n = 9.5, 2.5, 22
    reach = 1.959964 * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    found = paired_difference(first, second)
    assert (found.value, found.low, found.high) == pytest.approx((7 / 20, 7 / 22 - reach, 7 / 22 + reach))


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.8, 0.6), (0.97, 0.9)])
@pytest.mark.parametrize("starts", [10, 50])
def test_intervals_cover_the_difference(rates: tuple[float, float], starts: int) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        # Both policies fail at hard starts.
        hardness = 0.5 * rng.random(starts) + 0.5 * rng.random((2, starts))
        skills = [np.quantile(0.5 * rng.random(20_000) + 0.5 * rng.random(20_000), rate) for rate in rates]
        first, second = ((each < skill).astype(float) for each, skill in zip(hardness, skills, strict=True))
        found = paired_difference(first, second)
        assert found.low <= found.value <= found.high
        covered += found.low <= rates[0] - rates[1] <= found.high
    assert covered >= 0.93 * 500


def test_each_two_policies_are_compared_once() -> None:
    true = np.eye(3)[:, :2]
    pairs = compare_pairs(true, true[::-1], ["a", "b", "c"])
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.true.value for pair in pairs] == [0.0, 0.5, 0.5]
    assert [pair.learned.value for pair in pairs] == [-0.5, -0.5, 0.0]


def test_clear_winners_are_confirmed_or_not() -> None:
    better, worse, even = Estimate(0.5, 0.2, 0.8), Estimate(-0.5, -0.8, -0.2), Estimate(0.1, -0.2, 0.4)
    pairs = [
        PolicyPair("a", "b", *each) for each in ((better, better), (better, worse), (even, better), (better, even))
    ]
    assert clear_winners(pairs) == {
        "true": {"pairs": 3, "confirmed": pytest.approx(2 / 3)},
        "learned": {"pairs": 3, "confirmed": pytest.approx(2 / 3)},
    }
    assert math.isnan(clear_winners(pairs[:0])["true"]["confirmed"])
