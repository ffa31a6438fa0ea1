"""Intervals of agreement, against simulated policies whose truth is known, brute force and limiting cases."""

import math
from typing import Any

import numpy as np
import pytest

from docs.studies.simulated_policies import Scenario, draw_rates, play
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.bootstrap import Interval, bias_corrected_interval
from hwm_env.evaluation.intervals import jackknife_interval
from hwm_env.evaluation.policies.agreement import agreement, leave_one_out
from hwm_env.evaluation.policies.expected import draw_expected
from hwm_env.evaluation.policies.measures import MEASURES, mmrv, pearson
from hwm_env.evaluation.policies.permutation import permutation_test


def simulated(seed: int, policies: int = 12, starts: int = 30, error: float | None = 0.1) -> Any:
    """Returns expected success rates, [2, P], and trials, [2, P, S]."""
    rng = np.random.default_rng(seed)
    scenario = Scenario(families=policies, starts=starts, error=error)
    rates = draw_rates(scenario, policies, rng)
    return np.stack(rates), np.stack(play(*rates, rng.standard_normal(starts), rng))


def names(count: int) -> list[str]:
    return [f"policy {index}" for index in range(count)]


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Over starts, that of the expected rates; over both, that of the population (docs/results/coverage.json)."""
    evaluations = 40
    rng = np.random.default_rng(0)
    true, learned = draw_rates(Scenario(families=12, starts=30), 2000, rng)
    population = {name: float(measure(true, learned)) for name, measure in MEASURES.items()}
    sets = rng.integers(2000, size=(200, 12))
    population["mmrv"] = float(mmrv(true[sets], learned[sets]).mean())
    covered = {(name, kind): 0 for name in MEASURES for kind in ("over_starts", "over_both")}
    for seed in range(evaluations):
        rates, trials = simulated(seed)
        for name, found in agreement(*trials, names(12)).items():
            starts, both = found.over_starts, found.over_both
            assert both is not None
            assert both.low <= found.value <= both.high
            covered[name, "over_starts"] += starts.low <= MEASURES[name](*rates) <= starts.high
            covered[name, "over_both"] += both.low <= population[name] <= both.high
    # Exact intervals miss 8 of 40 once in 1500 times.
    assert min(covered.values()) >= evaluations - 7, covered


def test_the_noise_of_trials_is_taken_out() -> None:
    """The worlds agree perfectly; twenty trials hide that, and the noise-corrected estimate is closer on average."""
    rng = np.random.default_rng(0)
    measured, corrected = [], []
    for seed in range(10):
        rates = rng.uniform(0.2, 0.8, 16)
        true, learned = play(rates, rates, rng.standard_normal(20), rng)
        draws = draw_expected(true, learned, seed)
        measured.append(1 - pearson(true.mean(axis=1), learned.mean(axis=1)))
        corrected.append(1 - np.median(pearson(draws[:, 0], draws[:, 1])))
    assert np.mean(corrected) < 0.5 * np.mean(measured)


def test_more_starts_narrow_the_intervals() -> None:
    few, many = (agreement(*simulated(0, starts=starts)[1], names(12)) for starts in (20, 2000))
    for name in MEASURES:
        narrow, wide = many[name].over_starts, few[name].over_starts
        assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)
        assert narrow.value == pytest.approx(many[name].value, abs=0.03)


def test_families_are_resampled_whole() -> None:
    """Against copies of the policies that each bootstrap sample draws, one sample at a time."""
    _, (true, learned) = simulated(0)
    families = ["a", "a", "a", "b", "b", "c", "d", "e", "f", "f", "g", "h"]
    found = agreement(true, learned, families, seed=3)["pearson"]
    members = [np.flatnonzero(np.array(families) == family) for family in "abcdefgh"]
    rng = np.random.default_rng(3)
    values = []
    for sample in rng.integers(8, size=(2000, 8)):
        policies = np.concatenate([members[family] for family in sample])
        values.append(float(pearson(true[policies].mean(axis=1), learned[policies].mean(axis=1))))
    expected = bias_corrected_interval(np.array(values), found.value)
    assert found.over_families == Interval(pytest.approx(expected.low), pytest.approx(expected.high))


def test_families_are_left_out_whole() -> None:
    _, (true, learned) = simulated(0)
    families = ["a", "a", "a", "b", "b", "c", "d", "e", "f", "f", "g", "h"]
    found = agreement(true, learned, families)["mmrv"]
    labels = np.array(families)
    means = true.mean(axis=1), learned.mean(axis=1)
    values = [float(mmrv(means[0][labels != family], means[1][labels != family])) for family in "abcdefgh"]
    expected = jackknife_interval(found.value, np.array(values))
    assert found.over_families == Interval(pytest.approx(max(expected.low, 0.0)), pytest.approx(expected.high))


def test_copies_of_a_policy_are_no_new_policies() -> None:
    """Six families of one policy or of three equal ones: the same interval."""
    _, (true, learned) = simulated(0, policies=6)
    alone = agreement(true, learned, names(6))
    copied = agreement(true.repeat(3, axis=0), learned.repeat(3, axis=0), np.array(names(6)).repeat(3).tolist())
    for name in ("pearson", "spearman", "mmrv", "bias", "slope", "winners"):
        one, three = alone[name].over_both, copied[name].over_both
        assert one is not None
        assert three is not None
        assert (one.low, one.high) == pytest.approx((three.low, three.high))


def test_too_few_families_have_no_interval() -> None:
    _, trials = simulated(0)
    for found in agreement(*trials, ["one run"] * 6 + names(3) + names(3)).values():
        assert (found.over_families, found.over_both) == (None, None)
        assert found.over_starts.low <= found.over_starts.value <= found.over_starts.high


def test_equal_policies_have_no_correlation() -> None:
    found = agreement(np.ones((6, 9)), np.eye(6, 9), names(6))["pearson"]
    assert math.isnan(found.value)
    assert math.isnan(found.over_starts.value)
    assert found.over_both is not None
    assert math.isnan(found.over_both.low)


def test_one_start_has_no_noise_to_measure() -> None:
    rng = np.random.default_rng(0)
    found = agreement(*rng.random((2, 6, 1)), names(6))["pearson"]
    assert math.isnan(found.over_starts.low)
    assert found.over_families is not None


def test_results_of_any_unit_have_the_same_correlations() -> None:
    _, (true, learned) = simulated(0)
    one, other = agreement(true, learned, names(12)), agreement(100 * true - 7, 100 * learned - 7, names(12))
    for name in ("pearson", "spearman", "slope", "winners"):
        assert other[name].over_starts.low == pytest.approx(one[name].over_starts.low, abs=1e-6)
    assert other["mmrv"].over_starts.high == pytest.approx(100 * one["mmrv"].over_starts.high)


def test_leaving_one_out_is_what_it_says() -> None:
    _, trials = simulated(0, policies=6)
    means = trials.mean(axis=2)
    values = [float(pearson(np.delete(means[0], i), np.delete(means[1], i))) for i in range(6)]
    assert leave_one_out(pearson, *means, names(6)) == Interval(pytest.approx(min(values)), pytest.approx(max(values)))
    pairs = [float(pearson(np.delete(means[0], [i, i + 1]), np.delete(means[1], [i, i + 1]))) for i in (0, 2, 4)]
    found = leave_one_out(pearson, *means, ["a", "a", "b", "b", "c", "c"])
    assert found == Interval(pytest.approx(min(pairs)), pytest.approx(max(pairs)))
    assert leave_one_out(pearson, *means, ["a"] * 6) is None


def test_unrelated_worlds_are_told_from_related_ones() -> None:
    related, unrelated = (
        permutation_test(*simulated(1, policies=8, error=error)[1].mean(axis=2)).p for error in (0.1, None)
    )
    assert max(related.values()) < 0.01
    assert min(unrelated.values()) > 0.01


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((1, 4), (1, 4)), ((4,), (4,)), ((3, 0), (3, 0))])
def test_results_that_cannot_be_compared_are_refused(shapes: Any) -> None:
    with pytest.raises(InvalidInputError, match="same starts in both worlds"):
        agreement(np.zeros(shapes[0]), np.zeros(shapes[1]), names(shapes[0][0]))
