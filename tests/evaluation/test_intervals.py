"""Closed-form intervals, against published tables, their defining equations and exact coverage."""

import math

import numpy as np
import pytest

from hwm_env.evaluation.intervals import Z, fisher_interval, jackknife_interval, success_estimate, t_quantile, t_within


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042), (120, 1.980)],
)
def test_quantiles_of_t_are_those_of_tables(degrees: int, expected: float) -> None:
    assert t_quantile(degrees) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("degrees", [1, 2, 5, 8])
def test_probabilities_of_t_are_integrals_of_its_density(degrees: int) -> None:
    grid = np.linspace(-1.5, 1.5, 20_001)
    factor = math.gamma((degrees + 1) / 2) / math.sqrt(degrees * math.pi) / math.gamma(degrees / 2)
    density = factor * (1 + grid**2 / degrees) ** (-(degrees + 1) / 2)
    step = grid[1] - grid[0]
    assert t_within(1.5, degrees) == pytest.approx(step * (density.sum() - (density[0] + density[-1]) / 2), abs=1e-7)


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (3, 10), (49, 50), (50, 50)])
def test_the_ends_of_wilsons_interval_are_just_not_rejected(successes: int, trials: int) -> None:
    """(rate - p)^2 = z^2 p (1 - p) / trials at both ends."""
    estimate = success_estimate(successes, trials)
    assert estimate.value == successes / trials
    for end in (estimate.low, estimate.high):
        assert (estimate.value - end) ** 2 == pytest.approx(Z**2 * end * (1 - end) / trials, abs=1e-12)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.low < estimate.high


def test_wilsons_interval_covers_all_rates() -> None:
    """Exact coverage by the binomial distribution; the bootstrap's would fall to 0 near 0 and 1."""
    trials = 20
    intervals = [success_estimate(successes, trials) for successes in range(trials + 1)]
    coverages = []
    for rate in np.linspace(0.02, 0.98, 97):
        binomial = [math.comb(trials, n) * rate**n * (1 - rate) ** (trials - n) for n in range(trials + 1)]
        coverages.append(sum(p for p, one in zip(binomial, intervals, strict=True) if one.low <= rate <= one.high))
    assert np.mean(coverages) == pytest.approx(0.95, abs=0.01)
    assert min(coverages) > 0.83


def test_fishers_interval_is_that_of_textbooks() -> None:
    """r = 0.654 of 34 pairs: 0.406 to 0.812."""
    interval = fisher_interval(0.654, 34)
    assert (interval.low, interval.high) == pytest.approx((0.406, 0.812), abs=1e-3)
    ranks = fisher_interval(0.654, 34, ranks=True)
    assert ranks.low < interval.low < interval.high < ranks.high


def test_fishers_interval_needs_four_pairs_and_a_correlation() -> None:
    assert math.isnan(fisher_interval(0.5, 3).low)
    assert math.isnan(fisher_interval(math.nan, 30).low)
    assert fisher_interval(1.0, 30).low == 1.0


def test_fishers_interval_covers_the_correlation() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        x, noise = rng.normal(size=(2, 8))
        found = fisher_interval(float(np.corrcoef(x, 0.8 * x + 0.6 * noise)[0, 1]), 8)
        covered += found.low <= 0.8 <= found.high
    assert 0.92 * 400 <= covered <= 0.98 * 400


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = np.array([1.0, 4.0, 2.0, 8.0])
    without_one = (values.sum() - values) / 3
    reach = 3.18245 * values.std(ddof=1) / 2
    found = jackknife_interval(3.75, without_one)
    assert (found.low, found.high) == pytest.approx((3.75 - reach, 3.75 + reach), abs=1e-4)
