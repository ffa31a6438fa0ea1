"""Observations and actions in their modes."""

from typing import Any

import numpy as np
import pytest
import torch

from hwm_env.envs.observations import spread_frames
from hwm_env.envs.rendering import resized
from hwm_env.errors import InvalidInputError
from tests.envs.conftest import MakeEnv


def step(make_env: MakeEnv, env_id: str, **arguments: Any) -> tuple[Any, Any]:
    """Returns the observation after one step, and the environment."""
    env = make_env(env_id, task=None, **arguments)
    env.reset(seed=1)
    env.action_space.seed(1)
    return env.step(env.action_space.sample())[0], env


def test_tokens_and_latents_are_those_of_the_clip(make_env: MakeEnv, env_id: str) -> None:
    tokens, env = step(make_env, env_id, obs_mode="tokens")
    assert tokens.dtype == np.int32
    moment = env.unwrapped.moment
    clip = moment.frames
    tokenizer = moment.tokenizer if env_id == "HWMReference-v0" else moment.clip.tokenizer
    if env_id == "HWM-v0":
        np.testing.assert_array_equal(clip, tokenizer.decode(torch.from_numpy(tokens)[None])[0])
    else:
        np.testing.assert_array_equal(tokens, tokenizer.encode(torch.from_numpy(clip.copy())[None])[0])
    latents, _ = step(make_env, env_id, obs_mode="latents")
    rest = tokens.copy()
    for digit, level in enumerate((8, 8, 8, 5, 5, 5)):
        np.testing.assert_allclose(latents[..., digit], rest % level * 2 / (level - 1) - 1, atol=1e-6)
        rest //= level


@pytest.mark.slow
@pytest.mark.parametrize("task", [None, "face-target"])
def test_states_are_those_that_come_with_pixels(make_env: MakeEnv, env_id: str, task: str | None) -> None:
    with_pixels = make_env(env_id, task=task, obs_mode="pixels_state").reset(seed=3)[0]
    del with_pixels["pixels"]
    blind = make_env(env_id, task=task, obs_mode="state").reset(seed=3)[0]
    assert set(blind) == ({"state"} if task is None else {"state", "goal"})
    for name, numbers in with_pixels.items():
        np.testing.assert_array_equal(blind[name], numbers)


def test_fewer_frames_are_spread_over_the_step(make_env: MakeEnv) -> None:
    some, env = step(make_env, "HWM-v0", obs_mode="clip", num_frames=4)
    np.testing.assert_array_equal(some, env.unwrapped.clip[[3, 7, 11, 16]])


@pytest.mark.parametrize("count", range(1, 18))
def test_spread_frames_end_with_the_last_and_never_repeat(count: int) -> None:
    frames = spread_frames(count)
    gaps = np.diff(frames, prepend=-1)
    assert (len(frames), frames[-1]) == (count, 16)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("size", [32, 128])
def test_images_are_resized_smoothly(size: int) -> None:
    ramp = np.broadcast_to((np.arange(64) * 4)[None, None, :, None], (2, 64, 64, 3)).astype(np.uint8)
    other = resized(ramp, size)
    assert other.shape == (2, size, size, 3)
    centres = (np.arange(size) + 0.5) * 64 / size - 0.5
    inside = slice(size // 16, -size // 16)
    np.testing.assert_allclose(other[1, 3, inside, 2], 4 * centres[inside], atol=1.0)


def test_observations_have_the_size_that_is_asked_for(make_env: MakeEnv) -> None:
    pixels, native = step(make_env, "HWM-v0")
    larger, env = step(make_env, "HWM-v0", image_size=96)
    assert larger.shape == env.observation_space.shape == (96, 96, 3)
    np.testing.assert_array_equal(larger, resized(pixels[None], 96)[0])
    assert native.observation_space.shape == (64, 64, 3)


@pytest.mark.parametrize("obs_mode", ["tokens", "latents", "state"])
def test_frames_are_decoded_only_if_needed(make_env: MakeEnv, obs_mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(tokens: torch.Tensor) -> torch.Tensor:
        raise AssertionError("frames were decoded")

    env = make_env(task="goal-image" if obs_mode == "tokens" else "face-target", obs_mode=obs_mode)
    for name in ("decode", "decode_last"):
        monkeypatch.setattr(env.unwrapped.simulator.tokenizer, name, decode)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    with pytest.raises(AssertionError, match="frames were decoded"):
        env.unwrapped.moment.last_frame  # noqa: B018
    with pytest.raises(AssertionError, match="frames were decoded"):
        env.unwrapped.clip  # noqa: B018


def test_actions_beyond_the_data_can_be_refused(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, out_of_range="refuse")
    observation, _ = env.reset(seed=0)
    with pytest.raises(InvalidInputError, match="beyond the bounds"):
        env.step(env.action_space.high + 1)
    np.testing.assert_array_equal(env.unwrapped.moment.last_frame, observation)


def test_the_dial_of_the_decoding_reaches_the_simulator(make_env: MakeEnv) -> None:
    env = make_env(decoding_steps=12, order="halton", temperature=0.3, history="streaming", strict=True)
    decoding = env.unwrapped.simulator.decoding
    assert (decoding.steps, decoding.order, decoding.temperature, decoding.history) == (12, "halton", 0.3, "streaming")
    assert env.unwrapped.simulator.strict
