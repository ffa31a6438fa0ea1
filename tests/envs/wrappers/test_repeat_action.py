"""RepeatAction against a loop."""

import gymnasium
import numpy as np
import pytest

from hwm_env.envs.wrappers import RepeatAction
from hwm_env.errors import InvalidInputError
from hwm_env.tasks.base import Outcome
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint


def count(previous, now) -> dict[str, float]:
    """Rewards with terms of which some are absent in some steps."""
    speed = float(now.measured[:, -2].mean())
    return {"time": -1.0, ("fast" if speed > 0 else "slow"): speed}


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [1, 3])
def test_it_is_a_loop_that_adds_up_rewards(make_env: MakeEnv, env_id: str, repeats: int) -> None:
    env, plain = RepeatAction(make_env(env_id, task=count), repeats), make_env(env_id, task=count)
    assert fingerprint(env.reset(seed=0)) == fingerprint(plain.reset(seed=0))
    assert (env.action_space, env.observation_space) == (plain.action_space, plain.observation_space)
    for _ in range(2):
        action = plain.action_space.sample()
        steps = [plain.step(action) for _ in range(repeats)]
        terms = [step[-1]["reward_terms"] for step in steps]
        observation, reward, terminated, truncated, info = env.step(action)
        np.testing.assert_array_equal(observation, steps[-1][0])
        assert reward == pytest.approx(sum(step[1] for step in steps))
        assert type(reward) is float
        assert (terminated, truncated) == (False, False)
        added = info.pop("reward_terms")
        assert added == pytest.approx({name: sum(each.get(name, 0) for each in terms) for name in set().union(*terms)})
        assert info.pop("repeats") == repeats
        assert fingerprint(info) == fingerprint({k: v for k, v in steps[-1][-1].items() if k != "reward_terms"})


def test_it_stops_where_the_time_is_over(make_env: MakeEnv) -> None:
    env = RepeatAction(make_env(task=count, max_episode_steps=5), 3)
    for _ in range(2):
        env.reset(seed=0)
        steps = [env.step(env.action_space.low) for _ in range(2)]
        assert [(step[3], step[4]["repeats"], step[4]["reward_terms"]["time"]) for step in steps] == [
            (False, 3, -3.0),
            (True, 2, -2.0),
        ]


def test_it_stops_where_the_task_ends(make_env: MakeEnv) -> None:
    def end_in_the_second_step(previous, now) -> Outcome:
        calls.append(now)
        return Outcome({"bonus": 1.0}, success=True, terminated=len(calls) == 2)

    calls: list[object] = []
    env = RepeatAction(make_env(task=end_in_the_second_step), 5)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(env.action_space.low)
    assert (reward, terminated, truncated, info["repeats"], len(calls)) == (2.0, True, False, 2, 2)


def test_inside_gymnasiums_wrappers_steps_are_decisions(make_env: MakeEnv) -> None:
    env = gymnasium.wrappers.RecordEpisodeStatistics(RepeatAction(make_env(task=count, max_episode_steps=4), 2))
    env.reset(seed=0)
    env.step(env.action_space.low)
    assert env.step(env.action_space.low)[-1]["episode"]["l"] == 2


def test_less_than_once_is_refused(make_env: MakeEnv) -> None:
    with pytest.raises(InvalidInputError, match="repeats must be at least 1, got 0"):
        RepeatAction(make_env(), 0)
