"""Ratios of paired episodes."""

import numpy as np
import pytest

from docs.studies.ratios import ratio_estimate


def test_episodes_are_paired() -> None:
    """Two planners that fail at the same starts have a ratio of 1 without any doubt."""
    success = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    assert ratio_estimate(success, success) == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert ratio_estimate(success / 4, success) == {"value": 0.25, "low": 0.25, "high": 0.25}
    other = ratio_estimate(np.array([1.0, 0.0, 0.0, 1.0, 0.0]), success)
    assert other["value"] == pytest.approx(2 / 3)
    assert other["low"] < 2 / 3 < other["high"] == 1.0


def test_nothing_by_nothing_is_undefined() -> None:
    assert np.isnan(ratio_estimate(np.zeros(3), np.zeros(3))["value"])
