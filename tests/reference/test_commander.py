from functools import cache

import numpy as np
import pytest

from hwm_env import checkpoint
from hwm_env.reference import robot
from hwm_env.reference.behaviour import Operator, Teleoperator, operator_of
from hwm_env.reference.commander import Commander
from hwm_env.reference.kinematics import RobotState, advance
from hwm_env.types import ACTION_NAMES, FRAMES_PER_CLIP

EPISODES, FRAMES = 40, 400


def play(operator: Operator) -> tuple[np.ndarray, np.ndarray]:
    """Wanted and measured numbers of one episode, [400, 25] each."""
    state = RobotState(np.array([0.3, -0.5, 0.4]), robot.REST_POSE)
    wanted, measured = [], []
    for _ in range(FRAMES):
        wanted.append(operator.act(state))
        state = advance(state, wanted[-1])
        measured.append(state.action)
    return np.array(wanted), np.array(measured)


@cache
def measured(operator: type[Commander] | type[Teleoperator]) -> np.ndarray:
    """Of all episodes, [40, 400, 25]."""
    return np.stack([play(operator(np.random.default_rng(seed)))[1] for seed in range(EPISODES)])


def rises(numbers: np.ndarray, side: str) -> float:
    """Share of clips in which an arm that hangs at the start has risen at the end."""
    shoulder = numbers[..., ACTION_NAMES.index(f"{side}_shoulder_pitch")]
    return float(((shoulder[:, :-FRAMES_PER_CLIP] < 0.1) & (shoulder[:, FRAMES_PER_CLIP:] > 0.6)).mean())


def test_equal_seeds_play_the_same_and_others_do_not() -> None:
    first, again, other = (play(Commander(np.random.default_rng(seed)))[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_wanted_postures_are_within_limits_and_out_of_reach_for_a_while() -> None:
    wanted, done = play(Commander(np.random.default_rng(0)))
    assert ((wanted >= robot.ACTION_LOW) & (wanted <= robot.ACTION_HIGH)).all()
    assert np.abs(wanted - done).max() > 1.0


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
def test_arms_rise_from_hanging_more_often_than_a_teleoperators(side: str) -> None:
    assert rises(measured(Commander), side) > 2 * rises(measured(Teleoperator), side)
    assert rises(measured(Commander), side) > 0.015


def test_numbers_stay_within_what_room_64_was_trained_on() -> None:
    """So that the bounds of the action space are about the same for both behaviours."""
    bounds = checkpoint.load("room-64").statistics
    numbers = measured(Commander)
    assert (numbers >= bounds.low - 0.02).all()
    assert (numbers <= bounds.high + 0.02).all()


def test_both_take_turns() -> None:
    assert [operator_of("both", episode) for episode in range(4)] == [Teleoperator, Commander] * 2
    assert operator_of("commander", 0) is Commander
    assert operator_of("teleoperator", 1) is Teleoperator
