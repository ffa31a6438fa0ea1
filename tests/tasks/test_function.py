"""Functions as tasks: what they may return, and what they are given, in both worlds."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

from hwm_env.checkpoint import load, save
from hwm_env.errors import InvalidInputError
from hwm_env.tasks.base import Outcome
from hwm_env.tasks.function import FunctionTask
from hwm_env.tasks.registry import as_task
from hwm_env.types import LINEAR_VELOCITY
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import rollout


def judged(result: object) -> Outcome:
    return FunctionTask(lambda previous, now: result).evaluate(None, None, 1)


@pytest.mark.parametrize(
    ("result", "terms"),
    [
        pytest.param(2, {"reward": 2.0}, id="int"),
        pytest.param(np.float32(0.5), {"reward": 0.5}, id="numpy"),
        pytest.param(True, {"reward": 1.0}, id="bool"),
        pytest.param({"near": 1, "still": np.float64(-3)}, {"near": 1.0, "still": -3.0}, id="terms"),
        pytest.param({}, {}, id="no terms"),
    ],
)
def test_numbers_and_terms_are_rewards_that_end_nothing(result: object, terms: dict[str, float]) -> None:
    outcome = judged(result)
    assert outcome == Outcome(terms, success=False, terminated=False)
    assert all(type(value) is float for value in outcome.reward_terms.values())
    assert outcome.reward == sum(terms.values())


def test_an_outcome_is_taken_as_it_is() -> None:
    outcome = Outcome({"there": 3.0}, success=True, terminated=True)
    assert judged(outcome) == outcome


@pytest.mark.parametrize("result", [None, "far", [1.0], {"near": "very"}, {"near": None}, object()])
def test_anything_else_is_refused(result: object) -> None:
    with pytest.raises(InvalidInputError, match=r"'<lambda>' must return a number, a dict of numbers or an Outcome"):
        judged(result)


@pytest.mark.parametrize(
    "result",
    [np.nan, np.inf, {"near": 1.0, "far": -np.inf}, Outcome({"near": np.nan}, success=True, terminated=False)],
)
def test_rewards_that_are_not_finite_are_refused(result: object) -> None:
    with pytest.raises(InvalidInputError, match=r"must return finite rewards, got \{.*(nan|inf)"):
        judged(result)


def test_it_is_given_the_moments_before_and_after(make_env: MakeEnv, env_id: str) -> None:
    def mean_speed_gained(previous, now) -> float:
        return float(now.measured[:, LINEAR_VELOCITY].mean() - previous.measured[:, LINEAR_VELOCITY].mean())

    env = make_env(env_id, task=mean_speed_gained, obs_mode="pixels_state")
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"pixels", "state"}, "there is no goal"
    before = env.unwrapped.moment.measured
    for _ in range(2):
        _, reward, terminated, _, info = env.step(env.action_space.sample())
        after = env.unwrapped.moment.measured
        assert reward == pytest.approx((after - before)[:, LINEAR_VELOCITY].mean(), abs=1e-6)
        assert info["reward_terms"] == {"reward": reward}
        assert not terminated
        assert not info["is_success"]
        before = after


def test_an_outcome_ends_the_episode(make_env: MakeEnv, env_id: str) -> None:
    calls = []

    def second_step(previous, now) -> Outcome:
        calls.append((previous, now))
        over = len(calls) == 2
        return Outcome({"time": -1.0, "bonus": 5.0 * over}, success=over, terminated=over)

    steps = rollout(make_env(env_id, task=second_step), seed=0, steps=2)[1:]
    assert [(reward, terminated, truncated) for _, reward, terminated, truncated, _ in steps] == [
        (-1.0, False, False),
        (4.0, True, False),
    ]
    assert [info["is_success"] for *_, info in steps] == [False, True]
    assert calls[0][1] is calls[1][0], "one step's end is the next one's beginning"


def test_what_it_returns_is_looked_at_in_a_step_and_the_world_stays(make_env: MakeEnv) -> None:
    env = make_env(task=lambda previous, now: None)
    env.reset(seed=0)
    before = env.unwrapped.moment
    with pytest.raises(InvalidInputError, match="must return a number"):
        env.step(env.action_space.sample())
    assert env.unwrapped.moment is before


def test_states_name_the_function_and_are_refused_by_another_ones_environment(make_env: MakeEnv) -> None:
    def stand_still(previous, now) -> float:
        return 0.0

    def dance(previous, now) -> float:
        return 0.0

    one, other = make_env(task=stand_still), make_env(task=dance)
    one.reset(seed=0)
    state = one.unwrapped.get_state()
    assert state.origin.endswith("task stand_still")
    with pytest.raises(InvalidInputError, match=r"task dance\), got one of .*task stand_still"):
        other.unwrapped.set_state(state)


def test_callable_objects_go_by_their_type() -> None:
    class Dance:
        def __call__(self, previous, now) -> float:
            return 7.0

    task = as_task(Dance())
    assert (task.name, task.evaluate(None, None, 1).reward) == ("Dance", 7.0)
    assert as_task(functools.partial(Dance())).name == "partial"


def test_a_world_that_does_not_know_where_the_robot_is_says_none(
    make_env: MakeEnv, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    def is_known(previous, now) -> float:
        return float(previous.readout is not None) + float(now.readout is not None)

    save(dataclasses.replace(load(tiny_checkpoint), readout=None), tmp_path)
    assert rollout(make_env(task=is_known), seed=0, steps=1)[-1][1] == 2.0
    assert rollout(make_env(task=is_known, checkpoint=str(tmp_path)), seed=0, steps=1)[-1][1] == 0.0
