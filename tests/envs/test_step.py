from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.envs.world_model_env import HumanoidWorldModelEnv
from hwm_env.errors import InvalidInputError
from tests.envs.conftest import MakeEnv
from tests.envs.rollouts import fingerprint, rollout


def test_types_and_info_of_a_step(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id)
    for _, reward, terminated, truncated, info in rollout(env, seed=0, steps=3)[1:]:
        assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]
        assert set(info) - {"drift", "error_probability", "painted_offset", "pose", "pose_std"} == {
            "confidence",
            "entropy",
            "base_pose",
            "readout",
            "readout_source",
            "reward_terms",
            "is_success",
            "action_clipped",
            "action_ood",
            "action_ood_joints",
            "untrusted",
        }
        assert reward == sum(info["reward_terms"].values())
        assert type(info["confidence"]) is type(info["action_ood"]) is float
        assert type(info["is_success"]) is type(info["action_clipped"]) is bool
        assert info["confidence"] < 0 if env_id == "HWM-v0" else info["confidence"] == 0
        assert info["entropy"] > 0 if env_id == "HWM-v0" else info["entropy"] == 0


@pytest.mark.slow
def test_observations_show_the_same_moment(make_env: MakeEnv, env_id: str) -> None:
    pixels, both, clip = (
        rollout(make_env(env_id, obs_mode=mode), seed=1, steps=2)[-1][0] for mode in ("pixels", "pixels_state", "clip")
    )
    np.testing.assert_array_equal(both["pixels"], pixels)
    np.testing.assert_array_equal(clip[-1], pixels)
    assert set(both) == {"pixels", "state", "goal"}


def test_the_state_is_the_last_action_in_the_learned_world(make_env: MakeEnv) -> None:
    env = make_env(obs_mode="pixels_state")
    env.reset(seed=0)
    action = env.action_space.sample()
    np.testing.assert_array_equal(env.step(action)[0]["state"], action[-1])


def test_actions_outside_the_space_are_clipped_to_it(make_env: MakeEnv, env_id: str) -> None:
    env, twin = make_env(env_id), make_env(env_id)
    for each in (env, twin):
        each.reset(seed=0)
    *beyond, info = env.step(env.action_space.high + 1.0)
    *at_the_bound, twin_info = twin.step(twin.action_space.high)
    assert info["action_clipped"]
    assert not twin_info["action_clipped"]
    assert fingerprint(beyond) == fingerprint(at_the_bound)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda action: np.full_like(action, np.nan), id="NaN"),
        pytest.param(lambda action: np.full_like(action, np.inf), id="infinite"),
        pytest.param(lambda action: action[:-1], id="shape"),
        pytest.param(lambda action: "left", id="text"),
    ],
)
def test_bad_actions_change_nothing(make_env: MakeEnv, env_id: str, spoil: Any) -> None:
    env, twin = make_env(env_id, max_episode_steps=2), make_env(env_id, max_episode_steps=2)
    for each in (env, twin):
        each.reset(seed=0)
    action = env.action_space.sample()
    with pytest.raises(InvalidInputError, match=r"expected .* got"):
        env.step(spoil(action))
    for _ in range(2):
        assert fingerprint(env.step(action)) == fingerprint(twin.step(action))


def test_stepping_needs_a_reset(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id).unwrapped
    for call in (lambda: env.step(env.action_space.sample()), env.render, env.get_state):
        with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
            call()


def test_episodes_are_truncated_at_the_horizon(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, max_episode_steps=3, task=None)
    for _ in range(2):
        assert [truncated for *_, truncated, _ in rollout(env, seed=0, steps=3)] == [False, False, False, True]


def test_without_a_task_there_is_no_reward(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, task=None, obs_mode="pixels_state")
    observation, reward, terminated, _, info = rollout(env, seed=0, steps=1)[-1]
    assert set(observation) == {"pixels", "state"}
    assert (reward, terminated, info["reward_terms"], info["is_success"]) == (0.0, False, {}, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "fly"}, r"task must be one of .*drive-to-target.* got 'fly'"),
        ({"obs_mode": "sound"}, "obs_mode must be one of 'pixels', .* or 'latents', got 'sound'"),
        ({"action_mode": "joystick"}, "action_mode must be one of 'chunk', 'hold' or 'delta', got 'joystick'"),
        ({"render_mode": "ansi"}, "render_mode must be one of .* or 'human' or None, got 'ansi'"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1 or one of -1 or None, got 0"),
        ({"decoding_steps": -1}, "decoding_steps must be at least 0 or None, got -1"),
        ({"temperature": -1.0}, "temperature must be .* got -1.0"),
        ({"history": "long"}, "history must be one of .window. or .streaming. or None, got .long."),
        ({"checkpoint": "moon"}, "unknown checkpoint 'moon'"),
        ({"order": "spiral"}, "order must be .* got 'spiral'"),
        ({"precision": "int4"}, "precision must be .* got 'int4'"),
        ({"image_size": 8}, "image_size must be at least 16 or None, got 8"),
        ({"num_frames": 18}, "num_frames must be at most 17, got 18"),
        ({"out_of_range": "ignore"}, "out_of_range must be .* got 'ignore'"),
        ({"untrusted_above": 2.0}, "untrusted_above must be at most 1 or None, got 2.0"),
        ({"task": 7}, "task must be one of .* got 7"),
    ],
)
def test_bad_arguments_are_refused(tiny_checkpoint: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HumanoidWorldModelEnv(**{"checkpoint": tiny_checkpoint, **arguments})


def test_the_clip_shows_all_frames_whatever_observations_show(make_env: MakeEnv, env_id: str) -> None:
    pixels, clips = make_env(env_id, obs_mode="pixels"), make_env(env_id, obs_mode="clip")
    for env in (pixels, clips):
        env.reset(seed=0)
    action = pixels.action_space.sample()
    observation, clip = (env.step(action)[0] for env in (pixels, clips))
    np.testing.assert_array_equal(pixels.unwrapped.clip, clip)
    np.testing.assert_array_equal(pixels.unwrapped.clip[-1], observation)
