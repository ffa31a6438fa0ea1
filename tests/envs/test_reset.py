from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from tests.conftest import NUM_STARTS
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint


def test_a_start_can_be_named(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id)
    for start in (0, NUM_STARTS - 1, np.int64(1)):
        info = env.reset(seed=0, options={"start": start})[1]
        assert info["start"] == start
        assert type(info["start"]) is int


def test_starts_are_drawn_from_all(make_env: MakeEnv) -> None:
    env = make_env()
    assert {env.reset(seed=seed)[1]["start"] for seed in range(30)} == set(range(NUM_STARTS))


def test_info_of_a_reset(make_env: MakeEnv, env_id: str) -> None:
    info = make_env(env_id).reset(seed=0)[1]
    assert set(info) == {"start", "confidence", "base_pose", "target", "target_xy"}
    assert info["confidence"] == 0.0
    assert info["base_pose"].dtype == np.float32


def test_tasks_have_options_of_their_own(make_env: MakeEnv, env_id: str) -> None:
    assert make_env(env_id).reset(seed=0, options={"target": "sofa", "start": 2})[1]["target"] == "sofa"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stat": 1}, r"\['stat'\]: expected some of \['start', 'target'\]"),
        ({"start": NUM_STARTS}, rf"0..{NUM_STARTS - 1}, got {NUM_STARTS}"),
        ({"start": -1}, "got -1"),
        ({"start": 1.0}, "whole number in 0..3, got 1.0"),
        ({"start": True}, "got True"),
        ({"start": None}, "got None"),
        ({"start": "first"}, "got 'first'"),
        ({"start": 0, "target": "kitchen"}, "got 'kitchen'"),
        ([("start", 0)], "options must be a dict, got list"),
    ],
)
def test_bad_options_change_nothing(make_env: MakeEnv, env_id: str, options: Any, message: str) -> None:
    env, twin = make_env(env_id), make_env(env_id)
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(InvalidInputError, match=message):
        env.reset(seed=1, options=options)
    action = env.action_space.sample()
    assert fingerprint(env.step(action)) == fingerprint(twin.step(action))
    assert fingerprint(env.reset()) == fingerprint(twin.reset())


def test_options_of_a_task_are_unknown_without_it(make_env: MakeEnv) -> None:
    with pytest.raises(InvalidInputError, match=r"\['target'\]: expected some of \['start'\]"):
        make_env(task=None).reset(options={"target": "sofa"})


def test_a_bad_seed_changes_nothing(make_env: MakeEnv) -> None:
    env, twin = make_env(), make_env()
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(gymnasium.error.Error):
        env.reset(seed=-1)
    assert fingerprint(env.reset()) == fingerprint(twin.reset())
