from typing import Any

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
    of_world = {"start", "confidence", "entropy", "base_pose", "readout", "readout_source"}
    assert set(info) - {"painted_offset", "pose", "pose_std"} == of_world | {"target", "target_xy"}
    assert info["confidence"] == info["entropy"] == 0.0
    assert info["base_pose"].dtype == np.float32
    assert set(info["readout"]) == {"base_pose", "head_m", "gaze", "left_hand_m", "right_hand_m"}


def test_read_outs_of_a_start_are_exact_in_both_worlds(make_env: MakeEnv) -> None:
    learned, true = (make_env(env_id).reset(seed=3)[1] for env_id in ("HWM-v0", "HWMReference-v0"))
    assert learned["start"] == true["start"]
    assert learned["target"] == true["target"]
    for name, value in true["readout"].items():
        np.testing.assert_allclose(learned["readout"][name], value, atol=1e-6, err_msg=name)


def test_an_episode_can_begin_at_a_saved_state(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, max_episode_steps=3)
    env.reset(seed=0)
    for _ in range(2):
        observation, *_, step_info = env.step(env.action_space.sample())
    again, info = env.reset(seed=1, options={"state": env.unwrapped.get_state()})
    np.testing.assert_array_equal(again, observation)
    np.testing.assert_array_equal(info["base_pose"], step_info["base_pose"])
    assert "start" not in info
    truncated = [env.step(env.action_space.sample())[3] for _ in range(3)]
    assert truncated == [False, False, True], "steps are counted from the reset"


def test_new_noise_from_a_saved_state(make_env: MakeEnv) -> None:
    env = make_env(obs_mode="tokens", temperature=1.0)
    env.reset(seed=0)
    action, state = env.action_space.sample(), env.unwrapped.get_state()
    futures = []
    for seed in (1, 2, 1):
        env.reset(seed=seed, options={"state": state})
        futures.append(env.step(action)[0])
    np.testing.assert_array_equal(futures[0], futures[2])
    assert (futures[0] != futures[1]).any()


def test_tasks_have_options_of_their_own(make_env: MakeEnv, env_id: str) -> None:
    assert make_env(env_id).reset(seed=0, options={"target": "sofa", "start": 2})[1]["target"] == "sofa"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stat": 1}, r"must be some of \['start', 'state', 'target'\], got unknown \['stat'\]"),
        ({"start": NUM_STARTS}, rf"start must be below {NUM_STARTS}, got {NUM_STARTS}"),
        ({"start": -1}, "got -1"),
        ({"start": 1.0}, "start must be a whole number, got 1.0"),
        ({"start": True}, "got True"),
        ({"start": None}, "got None"),
        ({"start": "first"}, "got 'first'"),
        ({"start": 0, "target": "kitchen"}, "got 'kitchen'"),
        ({"state": None}, "state must be what get_state"),
        ({"state": 3}, "state must be what get_state"),
        ([("start", 0)], "options must be a dict, got .*start"),
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
    with pytest.raises(InvalidInputError, match=r"must be some of \['start', 'state'\], got unknown \['target'\]"):
        make_env(task=None).reset(options={"target": "sofa"})


def test_a_bad_seed_changes_nothing(make_env: MakeEnv) -> None:
    env, twin = make_env(), make_env()
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(InvalidInputError, match="seed must be at least 0 or None, got -1"):
        env.reset(seed=-1)
    assert fingerprint(env.reset()) == fingerprint(twin.reset())
