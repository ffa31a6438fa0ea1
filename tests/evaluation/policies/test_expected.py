"""Draws of expected results, against limiting cases and simulated policies."""

import numpy as np
import pytest

from docs.studies.simulated_policies import play
from hwm_env.evaluation.policies.expected import draw_expected


def test_many_trials_leave_no_doubt() -> None:
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.2, 0.8, (2, 10))
    true, learned = play(*rates, rng.standard_normal(20_000), rng)
    draws = draw_expected(true, learned)
    assert draws.shape == (2000, 2, 10)
    np.testing.assert_allclose(draws.mean(axis=0), [true.mean(axis=1), learned.mean(axis=1)], atol=0.003)
    # All policies' starts are equally hard, so that their rates move together: by 0.5 / sqrt(20,000) at most.
    assert draws.std(axis=0).max() < 0.004


def test_few_trials_are_drawn_towards_the_other_policies() -> None:
    """With equal noise, the mean draw is the measured rate times the share of its variance that is no noise."""
    rng = np.random.default_rng(0)
    policies, starts, spread = 400, 10, 0.5
    skills = rng.normal(0, spread, (2, policies))
    skills[1] = 0.8 * skills[0] + 0.6 * skills[1]
    true, learned = skills[:, :, None] + rng.normal(size=(2, policies, starts))
    draws = draw_expected(true, learned)
    covariance = spread**2 * np.array([[1, 0.8], [0.8, 1]])
    shrink = covariance @ np.linalg.inv(covariance + np.eye(2) / starts)
    expected = shrink @ np.stack([true.mean(axis=1), learned.mean(axis=1)])
    assert np.abs(draws.mean(axis=0) - expected).std() < 0.05
    # And they vary as the skills do.
    found = np.mean([np.cov(draw) for draw in draws[::20]], axis=0)
    np.testing.assert_allclose(found, covariance, atol=0.05)


def test_intervals_of_rates_cover_them() -> None:
    covered, total = 0, 0
    for seed in range(15):
        rng = np.random.default_rng(seed)
        rates = rng.uniform(0.1, 0.9, (2, 12))
        low, high = np.quantile(draw_expected(*play(*rates, rng.standard_normal(30), rng)), [0.025, 0.975], axis=0)
        covered += int(((low <= rates) & (rates <= high)).sum())
        total += rates.size
    assert 0.9 * total <= covered <= 0.99 * total


def test_draws_depend_on_the_seed_only() -> None:
    trials = np.random.default_rng(0).random((2, 5, 8))
    assert (draw_expected(*trials, seed=1) == draw_expected(*trials, seed=1)).all()
    assert (draw_expected(*trials, seed=1) != draw_expected(*trials, seed=2)).any()


@pytest.mark.parametrize("equal", [0, 1])
def test_a_world_without_differences_is_not_modelled(equal: int) -> None:
    trials = np.random.default_rng(0).random((2, 5, 8))
    trials[equal] = 0.3
    assert np.isnan(draw_expected(*trials)).all()
