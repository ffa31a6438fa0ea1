"""Bootstrap intervals, against closed forms and repeated experiments."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from hwm_env.evaluation.bootstrap import bias_corrected_interval, mean_estimate, percentile_interval


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        estimate = mean_estimate((rng.random(60) < 0.4).astype(float), seed=trial)
        covered += estimate.low <= 0.4 <= estimate.high
    assert 88 <= covered <= 99


@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.5])
def test_bias_correction_of_normal_values_is_exact(shift: float) -> None:
    """Values around estimate + shift with deviation 1: the corrected interval is estimate - shift -+ 1.96."""
    values = np.array([NormalDist(3 + shift).inv_cdf((index + 0.5) / 20_000) for index in range(20_000)])
    corrected = bias_corrected_interval(values, 3.0)
    assert (corrected.low, corrected.high) == pytest.approx((3 - shift - 1.96, 3 - shift + 1.96), abs=0.02)


def test_without_bias_the_interval_is_that_of_percentiles() -> None:
    values = np.arange(-1000.0, 1001.0)
    plain, corrected = percentile_interval(values), bias_corrected_interval(values, 0.0)
    assert (corrected.low, corrected.high) == pytest.approx((plain.low, plain.high))


def test_a_corrected_interval_holds_its_estimate() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    for estimate in np.quantile(values, [0.001, 0.1, 0.5, 0.999]):
        interval = bias_corrected_interval(values, float(estimate))
        assert interval.low <= estimate <= interval.high


def test_undefined_values_are_left_out() -> None:
    values = np.array([math.nan, 1.0, math.inf, 1.0])
    assert bias_corrected_interval(values, 1.0) == percentile_interval(np.ones(3))
    assert math.isnan(bias_corrected_interval(np.full(3, math.nan), 0.0).low)
