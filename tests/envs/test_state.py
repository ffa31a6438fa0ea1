import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.envs.wrappers import RecordReplay
from hwm_env.errors import InvalidInputError
from hwm_env.replay import Replay
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint
from tests.envs.test_tasks_in_worlds import LookEast


@pytest.mark.slow
def test_a_restored_future_is_bit_equal(make_env: MakeEnv, env_id: str, tiny_checkpoint: Path) -> None:
    other = make_env(env_id, obs_mode="pixels_state")
    # Made without Gymnasium, whose TimeLimit would not go back, it counts its steps itself.
    env = type(other.unwrapped)(checkpoint=tiny_checkpoint, obs_mode="pixels_state", max_episode_steps=6)
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(8)]
    for action in actions[:3]:
        env.step(action)
    saved = env.unwrapped.get_state()

    def future() -> list[str]:
        """Four steps, over the horizon, and the next episode, which np_random decides."""
        return [*(fingerprint(env.step(action)) for action in actions[3:7]), fingerprint(env.reset())]

    first = future()
    env.unwrapped.set_state(saved)
    assert future() == first
    env.unwrapped.set_state(pickle.loads(pickle.dumps(saved)))
    assert future() == first
    other.reset(seed=5)
    other.unwrapped.set_state(saved)
    env.unwrapped.set_state(saved)
    np.testing.assert_array_equal(other.step(actions[3])[0]["pixels"], env.step(actions[3])[0]["pixels"])
    env.close()


def test_two_futures_from_one_state_differ_by_their_actions(make_env: MakeEnv) -> None:
    env = make_env(temperature=0.0)
    env.reset(seed=0)
    saved = env.unwrapped.get_state()
    low = env.step(env.action_space.low)[0]
    env.unwrapped.set_state(saved)
    assert (env.step(env.action_space.high)[0] != low).any()


def test_foreign_states_change_nothing(make_env: MakeEnv) -> None:
    env, twin = make_env(), make_env()
    other_world, other_task = make_env("HWMReference-v0"), make_env(task=LookEast())
    for each in (env, twin, other_world, other_task):
        each.reset(seed=0)
    for state in ({}, None, 3, other_world.unwrapped.get_state(), other_task.unwrapped.get_state()):
        with pytest.raises(InvalidInputError, match="state must be"):
            env.unwrapped.set_state(state)
    action = env.action_space.sample()
    assert fingerprint(env.step(action)) == fingerprint(twin.step(action))


def test_either_kind_of_history_can_go_on_from_the_others_states(make_env: MakeEnv) -> None:
    streaming, window = (make_env(history=history, temperature=0.0) for history in ("streaming", "window"))
    for env in (streaming, window):
        env.reset(seed=0)
    action = streaming.action_space.low
    np.testing.assert_array_equal(streaming.step(action)[0], window.step(action)[0])
    for giver, taker in ((streaming, window), (window, streaming)):
        taker.unwrapped.set_state(giver.unwrapped.get_state())
        twin = taker.unwrapped.get_state()
        pixels = taker.step(action)[0]
        taker.unwrapped.set_state(twin)
        np.testing.assert_array_equal(taker.step(action)[0], pixels)


def test_both_worlds_take_a_kind_of_history(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, history="streaming")
    assert env.observation_space.contains(env.reset(seed=0)[0])


@pytest.mark.slow
@pytest.mark.parametrize("history", ["window", "streaming"])
def test_fifty_steps_are_observed_again_from_a_state_a_fork_and_a_file(
    make_env: MakeEnv, tmp_path: Path, history: str
) -> None:
    env = RecordReplay(make_env(task=None, obs_mode="tokens", history=history, max_episode_steps=100), tmp_path)
    env.reset(seed=0)
    state, world = env.unwrapped.get_state(), env.unwrapped.moment.state
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(50)]
    observed = [env.step(action)[0] for action in actions]
    env.close()
    env.unwrapped.set_state(state)
    simulator = env.unwrapped.simulator
    fork = simulator.fork(world, 1)
    replayed = Replay.load(tmp_path / "episode_00000.npz").run(simulator)
    for action, tokens, (clip, is_equal) in zip(actions, observed, replayed, strict=True):
        np.testing.assert_array_equal(env.unwrapped.step(action)[0], tokens)
        fork, forked = simulator.step(fork, torch.from_numpy(action)[None])
        np.testing.assert_array_equal(forked.tokens[0], tokens)
        np.testing.assert_array_equal(clip.tokens[0], tokens)
        assert is_equal
