"""Corrections of learned results by a few true ones, against repeated experiments."""

import math

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.bootstrap import Estimate
from hwm_env.evaluation.policies.prediction_powered import corrected_mean, judge_correction


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
    assert covered >= 0.91 * 300


NONE = np.empty((3, 0))


def test_without_true_trials_nothing_is_corrected() -> None:
    with pytest.raises(InvalidInputError, match="at least two true trials"):
        corrected_mean(np.ones(5), np.ones(1), np.ones(1))


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("known", [5, 10, 20])
def test_few_true_trials_are_enough_for_coverage(known: int, rate: float) -> None:
    """A normal interval would hold the rate 0.95 in a third of the cases with ten true trials, as all succeed."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        true = (rng.random(known + 100) < rate).astype(float)
        learned = np.where(rng.random(known + 100) < 0.7, true, rng.random(known + 100) < 0.6 * rate).astype(float)
        found = corrected_mean(learned[known:], learned[:known], true[:known])
        covered += found.low <= rate <= found.high
    assert covered >= 0.85 * 400


def test_a_useless_world_leaves_the_true_mean() -> None:
    """Student's interval of the known trials with one more success and one more failure."""
    true = np.array([1.0, 0.0, 1.0, 1.0])
    more = np.append(true, [0.0, 1.0])
    # Squares around the mean of all six trials; t of five degrees of freedom.
    reach = 2.5706 * math.sqrt(more.var(ddof=1) / 6)
    assert corrected_mean(np.ones(7), np.ones(4), true) == Estimate(
        0.75, pytest.approx(0.75 - reach, abs=1e-4), pytest.approx(0.75 + reach, abs=1e-4)
    )


def test_savings_are_those_of_repeated_corrections() -> None:
    """Against one correction at a time; a perfect world saves most, a useless one nothing."""
    rng = np.random.default_rng(0)
    true = (rng.random((3, 200)) < 0.5).astype(float)
    learned = np.stack([true[0], (rng.random(200) < 0.5).astype(float), np.zeros(200)])
    (perfect, useless, constant), pooled = judge_correction(true, learned, NONE[:3], 20)
    estimates = []
    for _ in range(300):
        order = rng.permutation(200)
        known, rest = order[:20], order[20:]
        estimates.append(corrected_mean(learned[0, rest], learned[0, known], true[0, known]))
    width = math.sqrt(np.mean([(each.high - each.low) ** 2 for each in estimates]))
    error = math.sqrt(np.mean([(each.value - true[0].mean()) ** 2 for each in estimates]))
    assert (perfect.width, perfect.error) == pytest.approx((width, error), rel=0.2)
    assert perfect.saved_trials == pytest.approx(20 * ((perfect.width_alone / perfect.width) ** 2 - 1))
    assert perfect.saved_trials > 60
    assert abs(useless.saved_trials) < 2
    assert (constant.saved_trials, constant.error) == (pytest.approx(0.0), constant.error_alone)
    assert 0 < pooled.saved_trials < perfect.saved_trials


def test_the_known_true_trials_err_as_samples_without_replacement_do() -> None:
    true = (np.arange(100)[None] < 40).astype(float)
    (found,), _ = judge_correction(true, np.zeros((1, 100)), NONE[:1], 25)
    assert found.error_alone == pytest.approx(math.sqrt(0.24 / 25 * 75 / 99), rel=0.12)


def test_further_learned_trials_save_what_they_save_in_one_correction() -> None:
    """Of a perfect world; with many more of them than true trials, those are all that is left of the width."""
    rng = np.random.default_rng(1)
    true = (rng.random((1, 100)) < 0.5).astype(float)
    more = (rng.random((1, 3000)) < 0.5).astype(float)
    (few,), _ = judge_correction(true, true, NONE[:1], 50)
    (many,), _ = judge_correction(true, true, more, 50)
    estimate = corrected_mean(np.append(true[0, 50:], more), true[0, :50], true[0, :50])
    assert many.width == pytest.approx(estimate.high - estimate.low, rel=0.1)
    assert many.saved_trials > 4 * 50 > 2 * few.saved_trials
