"""Searches on functions whose best parameters are known."""

from typing import Any

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from policies.planners.search import CEM, ICEM, MPPI, Search, make_search

SEARCHES = ["cem", "icem", "mppi"]
BEST = np.array([0.5, -0.3, 0.8, 0.0])


def search_for(search: Search, best: Any, iterations: int, seed: int = 0, around: Any = None) -> Any:
    rng = np.random.default_rng(seed)
    belief = search.begin(len(best), around)
    for _ in range(iterations):
        tried = search.sample(belief, 64, rng)
        assert np.abs(tried).max() <= 1
        belief = search.update(belief, tried, -((tried - best) ** 2).sum(1))
    return belief.mean


@pytest.mark.parametrize("name", SEARCHES)
def test_the_best_parameters_are_found(name: str) -> None:
    search = make_search(name, ["one", "two"])
    np.testing.assert_allclose(search_for(search, BEST, 40), BEST, atol=0.12)
    # A search that begins at the optimum stays there, since the mean itself is always tried.
    warm = search.begin(4, BEST)
    np.testing.assert_array_equal(search.sample(warm, 3, np.random.default_rng(0))[0], BEST)


def test_cem_fits_its_gaussian_to_the_elites() -> None:
    search = CEM(elites=2, inertia=0.25)
    belief = search.begin(1, None)
    tried = np.array([[0.0], [0.5], [-1.0], [0.9]])
    after = search.update(belief, tried, np.array([1.0, 3.0, 0.0, 2.0]))
    assert after.mean[0] == pytest.approx(0.25 * 0.0 + 0.75 * 0.7)
    assert after.std[0] == pytest.approx(0.25 * belief.std[0] + 0.75 * 0.2)


def test_mppi_weighs_all_that_was_tried() -> None:
    search = MPPI(temperature=0.5)
    tried = np.array([[0.0, 1.0], [0.4, -1.0], [0.8, 0.0]])
    worth = np.array([1.0, 2.0, 3.0])
    weights = np.exp((worth - 3.0) / (0.5 * (3.0 - 2.0)))
    after = search.update(search.begin(2, None), tried, worth)
    np.testing.assert_allclose(after.mean, (weights[:, None] * tried).sum(0) / weights.sum())
    same = search.update(search.begin(2, None), tried, np.ones(3))
    np.testing.assert_allclose(same.mean, tried.mean(0))


def test_icem_tries_its_elites_again() -> None:
    search = ICEM(controls=2, elites=6, keep=0.5)
    rng = np.random.default_rng(0)
    belief = search.begin(4, None)
    tried = search.sample(belief, 10, rng)
    worth = rng.random(10)
    again = search.sample(search.update(belief, tried, worth), 10, rng)
    best = tried[np.argsort(-worth)[:3]]
    np.testing.assert_array_equal(again[1:4], best)
    assert again.shape == (10, 4)


def test_icems_noise_is_slow_in_time_and_independent_between_controls() -> None:
    search = ICEM(controls=2, exponent=2.0)
    belief = search.begin(2 * 16, None)
    narrow = type(belief)(belief.mean, np.full(32, 0.1), belief.kept)  # So that nothing is cut off.
    noise = search.sample(narrow, 4000, np.random.default_rng(0))[1:].reshape(-1, 16, 2) / 0.1
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    correlation = [np.corrcoef(noise[:, k, 0], noise[:, k + 1, 0])[0, 1] for k in range(15)]
    assert min(correlation) > 0.5
    assert abs(np.corrcoef(noise[:, 3, 0], noise[:, 3, 1])[0, 1]) < 0.05
    white = ICEM(controls=2, exponent=0.0).sample(narrow, 4000, np.random.default_rng(0))[1:].reshape(-1, 16, 2)
    assert abs(np.corrcoef(white[:, 3, 0], white[:, 4, 0])[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_search("magic", ["one"]), "one of cem, icem, mppi, got 'magic'"),
        (lambda: CEM(elites=0), "elites must be at least 1, got 0"),
        (lambda: MPPI(temperature=0.0), "above 0, got 0.0"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()
