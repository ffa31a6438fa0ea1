"""The environments on a GPU: one world and hundreds, every kind of observation, options and saved states."""

from typing import Any

import numpy as np
import pytest
import torch

from hwm_env.envs.world_model_env import HumanoidWorldModelEnv, HumanoidWorldModelVectorEnv

pytestmark = pytest.mark.cuda

OF_A_STEP = {"confidence", "entropy", "readout", "readout_source", "pose", "pose_std", "drift", "error_probability"}


@pytest.mark.parametrize("obs_mode", ["pixels", "pixels_state", "state", "clip", "tokens", "latents"])
def test_one_world_plays(device: torch.device, obs_mode: str) -> None:
    env = HumanoidWorldModelEnv(device=device, obs_mode=obs_mode, action_mode="hold", render_mode="rgb_array")
    observation, info = env.reset(seed=0, options={"start": 3})
    assert env.observation_space.contains(observation)
    assert info["start"] == 3
    for _ in range(2):
        observation, reward, _, _, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert np.isfinite(reward)
        assert set(info) >= OF_A_STEP
        assert info["readout_source"] == "scene"
    assert env.render().shape == (256, 256, 3)


def test_a_restored_world_repeats_itself_to_the_bit(device: torch.device) -> None:
    env = HumanoidWorldModelEnv(device=device, obs_mode="clip", temperature=0.7, decoding_steps=3)
    env.reset(seed=1)
    actions = [env.action_space.sample() for _ in range(3)]
    env.step(actions[0])
    saved, played = env.get_state(), []
    for _ in range(2):
        played.append([env.step(action) for action in actions[1:]])
        env.set_state(saved)
    for once, again in zip(*played, strict=True):
        assert_equal(once, again)
    _, info = env.reset(seed=2, options={"state": saved})
    assert "start" not in info
    env.step(actions[0])


def assert_equal(one: Any, other: Any) -> None:
    """Compares nested results of steps."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_equal(value, other[key])
    elif isinstance(one, tuple | list):
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("obs_mode", ["pixels", "tokens", "clip"])
def test_many_worlds_play(device: torch.device, worlds: int, obs_mode: str) -> None:
    envs = HumanoidWorldModelVectorEnv(
        worlds, device=device, obs_mode=obs_mode, action_mode="hold", render_mode="rgb_array"
    )
    per_world = [{"start": row % 5} for row in range(worlds)]
    observations, infos = envs.reset(seed=0, options={"per_world": per_world})
    assert infos["start"].tolist() == [row % 5 for row in range(worlds)]
    assert envs.observation_space.contains(observations)
    actions = envs.action_space.sample()
    for _ in range(2):
        observations, rewards, _, _, infos = envs.step(actions)
        assert envs.observation_space.contains(observations)
        assert np.isfinite(rewards).all()
        assert np.isfinite(infos["error_probability"]).all()
    moments = envs.moments
    for row in (0, worlds - 1):
        expected = {
            "pixels": moments[row].last_frame,
            "tokens": moments[row].tokens,
            "clip": moments[row].frames,
        }[obs_mode]
        np.testing.assert_array_equal(observations[row], expected)
        assert moments[row].confidence == pytest.approx(moments[row].clip.log_prob[row].mean().item(), abs=1e-5)
    assert len(envs.render()) == worlds


def test_some_worlds_begin_again(device: torch.device, worlds: int) -> None:
    envs = HumanoidWorldModelVectorEnv(
        worlds, device=device, obs_mode="tokens", max_episode_steps=2, autoreset_mode="SAME_STEP"
    )
    envs.reset(seed=0)
    actions = envs.action_space.sample()
    before, *_ = envs.step(actions)
    mask = np.arange(worlds) % 2 == 0
    after, _ = envs.reset(seed=3, options={"reset_mask": mask})
    np.testing.assert_array_equal(after[~mask], before[~mask])
    _, _, _, truncated, infos = envs.step(actions)
    np.testing.assert_array_equal(truncated, ~mask)
    assert [final is not None for final in infos["final_obs"]] == (~mask).tolist()


def test_a_strict_row_is_the_world_alone(device: torch.device) -> None:
    options: dict[str, Any] = {
        "device": device,
        "strict": True,
        "obs_mode": "clip",
        "temperature": 0.7,
        "max_episode_steps": 40,
    }
    envs, env = HumanoidWorldModelVectorEnv(3, **options), HumanoidWorldModelEnv(**options)
    together, _ = envs.reset(seed=[5, 6, 7])
    alone, _ = env.reset(seed=6)
    np.testing.assert_array_equal(together[1], alone)
    actions = envs.action_space.sample()
    together, rewards, _, _, infos = envs.step(actions)
    alone, reward, _, _, info = env.step(actions[1])
    np.testing.assert_array_equal(together[1], alone)
    assert rewards[1] == reward
    assert (infos["confidence"][1], infos["entropy"][1]) == (info["confidence"], info["entropy"])
    # The CPU computes these for all rows together.
    for name in ("drift", "error_probability"):
        assert infos[name][1] == pytest.approx(info[name], rel=1e-4), name
