"""StackFrames against frames that are gathered by hand from the clips."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.envs.wrappers import RepeatAction, StackFrames
from hwm_env.errors import InvalidInputError
from tests.envs.conftest import MakeEnv

BAD_OPTIONS = {"start": -1}


def expected(clips: list[np.ndarray], num_frames: int, stride: int) -> np.ndarray:
    """Stacks every `stride`-th frame since the first clip, up to the last one, along the channels."""
    frames = [frame for clip in clips for frame in clip]
    chosen = []
    for back in range(num_frames):
        place = len(frames) - 1 - back * stride
        chosen.insert(0, frames[place] if place >= 0 else frames[0])
    return np.dstack(chosen)


def assert_same_picture(one: np.ndarray, other: np.ndarray) -> None:
    """Decoded alone, a last frame may differ from the same in its clip by a rounding."""
    np.testing.assert_allclose(one.astype(int), other.astype(int), rtol=0, atol=1)


@pytest.mark.slow
@pytest.mark.parametrize(("num_frames", "stride"), [(4, 4), (1, 1), (2, 17), (3, 20), (18, 1)])
def test_frames_are_those_of_the_clips(make_env: MakeEnv, num_frames: int, stride: int) -> None:
    env = StackFrames(make_env(action_mode="delta"), num_frames, stride)
    for episode in range(2):
        observation, _ = env.reset(seed=episode)
        clips = [env.unwrapped.clip]
        for _ in range(4):
            np.testing.assert_array_equal(observation, expected(clips, num_frames, stride))
            assert observation in env.observation_space
            observation = env.step(env.action_space.sample())[0]
            clips.append(env.unwrapped.clip)


@pytest.mark.slow
def test_both_worlds_stack_pixels_and_leave_the_rest(make_env: MakeEnv, env_id: str) -> None:
    plain = make_env(env_id, obs_mode="pixels_state")
    env = StackFrames(make_env(env_id, obs_mode="pixels_state"), num_frames=3, stride=8)
    rest = {name: space for name, space in plain.observation_space.items() if name != "pixels"}
    assert {name: space for name, space in env.observation_space.items() if name != "pixels"} == rest
    assert env.observation_space["pixels"] == gymnasium.spaces.Box(0, 255, (64, 64, 9), np.uint8)
    shown, (stacked, _) = plain.reset(seed=0)[0], env.reset(seed=0)
    for _ in range(2):
        assert_same_picture(stacked["pixels"][..., -3:], shown["pixels"])
        assert (stacked["pixels"][..., :3] != shown["pixels"]).any()
        for name in rest:
            np.testing.assert_array_equal(stacked[name], shown[name])
        action = plain.action_space.sample()
        shown, stacked = plain.step(action)[0], env.step(action)[0]


def test_smaller_images_are_those_of_the_environment(make_env: MakeEnv) -> None:
    plain, env = make_env(image_size=24), StackFrames(make_env(image_size=24), num_frames=2, stride=17)
    assert env.observation_space.shape == (24, 24, 6)
    last, _ = plain.reset(seed=0)
    env.reset(seed=0)
    for _ in range(2):
        action = plain.action_space.sample()
        now, stacked = plain.step(action)[0], env.step(action)[0]
        assert_same_picture(stacked, np.dstack([last, now]))
        last = now


def test_the_first_steps_of_an_episode_do_not_show_the_one_before(make_env: MakeEnv) -> None:
    env = StackFrames(make_env(), num_frames=5, stride=17)
    first, _ = env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())
    np.testing.assert_array_equal(env.reset(seed=0)[0], first)
    oldest = env.unwrapped.clip[0]
    np.testing.assert_array_equal(first, np.dstack([*[oldest] * 4, env.unwrapped.clip[-1]]))


def test_a_refused_reset_forgets_nothing(make_env: MakeEnv) -> None:
    env = StackFrames(make_env(), num_frames=2, stride=17)
    env.reset(seed=0)
    last = env.step(env.action_space.sample())[0][..., -3:]
    with pytest.raises(InvalidInputError, match="start"):
        env.reset(options=BAD_OPTIONS)
    np.testing.assert_array_equal(env.step(env.action_space.sample())[0][..., :3], last)


def test_inside_of_repeated_actions_no_frame_is_missing(make_env: MakeEnv) -> None:
    with pytest.raises(InvalidInputError, match="must be inside RepeatAction, not around it"):
        StackFrames(RepeatAction(make_env(), 2))
    plain, env = make_env(), RepeatAction(StackFrames(make_env(), num_frames=2, stride=17), 2)
    plain.reset(seed=0)
    env.reset(seed=0)
    action = plain.action_space.sample()
    two = [plain.step(action)[0] for _ in range(2)]
    assert_same_picture(env.step(action)[0], np.dstack(two))


@pytest.mark.parametrize(
    ("env_arguments", "arguments", "message"),
    [
        ({}, {"num_frames": 0}, "num_frames must be at least 1, got 0"),
        ({}, {"stride": 0}, "stride must be at least 1, got 0"),
        ({"obs_mode": "clip"}, {}, r"env must have obs_mode 'pixels' or 'pixels_state' .* got observations in Box"),
        ({"obs_mode": "tokens"}, {}, "env must have obs_mode"),
    ],
)
def test_what_cannot_be_stacked_is_refused(
    make_env: MakeEnv, env_arguments: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        StackFrames(make_env(**env_arguments), **arguments)


def test_other_environments_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"env must be HWM-v0 or HWMReference-v0, got CartPole"):
        StackFrames(gymnasium.make("CartPole-v1"))
