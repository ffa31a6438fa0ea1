"""Permutation tests, against closed forms, brute force and each other."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from hwm_env.evaluation.policies import permutation
from hwm_env.evaluation.policies.measures import pearson
from hwm_env.evaluation.policies.permutation import permutation_test


def test_only_one_order_agrees_perfectly() -> None:
    test = permutation_test(np.arange(5.0), np.arange(5.0) ** 2)
    assert (test.method, test.permutations) == ("exact", 120)
    assert test.p["spearman"] == test.p["mmrv"] == test.p["pearson"] == pytest.approx(1 / 120)


def test_the_worst_order_is_no_evidence() -> None:
    test = permutation_test(np.arange(5.0), -np.arange(5.0))
    assert test.p == {"pearson": 1.0, "spearman": 1.0, "mmrv": pytest.approx(1.0)}


def test_an_exact_p_counts_all_orders() -> None:
    true, learned = np.round(np.random.default_rng(0).random((2, 6)), 1)
    orders = [pearson(true, learned[list(order)]) for order in itertools.permutations(range(6))]
    expected = np.mean([each >= pearson(true, learned) - 1e-12 for each in orders])
    assert permutation_test(true, learned).p["pearson"] == pytest.approx(expected)


@pytest.mark.slow
def test_monte_carlo_is_close_to_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    true = rng.random(7)
    learned = true + rng.normal(0, 0.4, 7)
    exact = permutation_test(true, learned)
    monkeypatch.setattr(permutation, "MOST_EXACT", 6)
    random = permutation_test(true, learned)
    assert (random.method, random.permutations) == ("Monte Carlo", 100_000)
    for name, p in exact.p.items():
        assert random.p[name] == pytest.approx(p, abs=4 * math.sqrt(p / 100_000))


def test_p_is_uniform_if_the_worlds_are_unrelated() -> None:
    rng = np.random.default_rng(0)
    p: Any = np.array([list(permutation_test(*rng.random((2, 5))).p.values()) for _ in range(300)])
    for level in (0.05, 0.3, 0.6):
        assert (p <= level).mean(axis=0) == pytest.approx(level, abs=0.1)


def test_undefined_measures_have_no_p() -> None:
    assert math.isnan(permutation_test(np.ones(3), np.arange(3.0)).p["pearson"])
