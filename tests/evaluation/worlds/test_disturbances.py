"""Disturbed actions have the properties that they are named after."""

import numpy as np
import pytest

from hwm_env.data.statistics import ActionStatistics
from hwm_env.evaluation.worlds.disturbances import DISTURBANCES
from hwm_env.reference import robot
from hwm_env.trust import action_excess
from hwm_env.types import FRAME_RATE_HZ, Float64Array

FRAMES = 20 * 17
STATISTICS = ActionStatistics(
    mean=robot.REST_POSE,
    std=(robot.ACTION_HIGH - robot.ACTION_LOW) / 4,
    low=robot.ACTION_LOW,
    high=robot.ACTION_HIGH,
    p01=0.9 * robot.ACTION_LOW,
    p99=0.9 * robot.ACTION_HIGH,
    max_change=robot.RATE_LIMITS / np.float32(FRAME_RATE_HZ),
)
LAST = robot.REST_POSE.astype(np.float64)


def borrowed() -> Float64Array:
    """Every number swings slowly through its whole range, beginning far from LAST."""
    swing = np.sin(np.arange(FRAMES) / 100.0 + 1.2)[:, None]
    middle, half = (robot.ACTION_HIGH + robot.ACTION_LOW) / 2, (robot.ACTION_HIGH - robot.ACTION_LOW) / 2
    return middle + swing * half.astype(np.float64)


def made(name: str, seed: int = 0) -> Float64Array:
    return DISTURBANCES[name](np.random.default_rng(seed), STATISTICS, LAST, borrowed())


def excess(actions: Float64Array) -> Float64Array:
    """[N, 25]."""
    chunks = actions.reshape(-1, 17, 25)
    last = np.concatenate([LAST[None], chunks[:-1, -1]])
    return action_excess(STATISTICS, chunks, last).reshape(-1, 25)


@pytest.mark.parametrize("name", DISTURBANCES)
def test_equal_generators_give_equal_actions(name: str) -> None:
    assert np.array_equal(made(name), made(name))
    if name != "borrowed":
        assert not np.array_equal(made(name), made(name, seed=1))


@pytest.mark.parametrize("name", ["borrowed", "wandering"])
def test_ordinary_actions_stay_inside_the_training_data(name: str) -> None:
    for seed in range(5):
        assert (excess(made(name, seed)) == 0).all()


def test_borrowed_actions_arrive_and_are_those_of_the_other_episode() -> None:
    assert np.allclose(made("borrowed")[150:], borrowed()[150:], atol=1e-6)


def test_wandering_numbers_use_their_ranges() -> None:
    actions = np.concatenate([made("wandering", seed) for seed in range(5)])
    assert (np.ptp(actions, axis=0) > 0.4 * (STATISTICS.high - STATISTICS.low)).all()


def test_jumping_numbers_stay_in_their_ranges() -> None:
    for seed in range(5):
        actions = made("jumping", seed)
        assert (actions >= STATISTICS.low - 1e-6).all()
        assert (actions <= STATISTICS.high + 1e-6).all()


def test_numbers_go_beyond_by_half_a_range_at_most_and_no_faster_than_usual() -> None:
    half = 0.5 * (STATISTICS.high - STATISTICS.low)
    for seed in range(5):
        actions = made("beyond", seed)
        assert (actions >= STATISTICS.low - half - 1e-6).all()
        assert (actions <= STATISTICS.high + half + 1e-6).all()
        changes = np.abs(np.diff(actions, axis=0, prepend=LAST[None]))
        assert (changes <= STATISTICS.max_change + 1e-6).all()


@pytest.mark.parametrize("name", ["jumping", "beyond"])
def test_disturbances_are_seldom_in_some_episodes_and_constant_in_others(name: str) -> None:
    shares = [(excess(made(name, seed)) > 0).mean() for seed in range(40)]
    assert min(shares) < 0.02
    assert max(shares) > 0.15
