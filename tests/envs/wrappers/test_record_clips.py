"""RecordClips: what is in the files, read back."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env.data.labels import STRIP_HEIGHT, text_strip
from hwm_env.data.videos import frame_size, frame_times, read_frames
from hwm_env.envs.wrappers import RecordClips, RepeatAction
from hwm_env.envs.wrappers.record_clips import CHART_HEIGHT, reward_chart
from hwm_env.errors import InvalidInputError
from tests.envs.conftest import MakeEnv

pytest.importorskip("av")

BACKGROUND, AXIS, BLUE, ORANGE = (24, 24, 28), (120, 120, 128), (86, 180, 233), (230, 159, 0)
PICTURE = slice(STRIP_HEIGHT, STRIP_HEIGHT + 256)
FOOTER = slice(PICTURE.stop, PICTURE.stop + STRIP_HEIGHT)
CHART = slice(FOOTER.stop, FOOTER.stop + CHART_HEIGHT)


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path, np.arange(len(frame_times(path))), None)))


def difference(shown: np.ndarray, drawn: np.ndarray) -> float:
    return float(np.abs(shown.astype(int) - drawn).mean())


@pytest.mark.slow
def test_a_video_shows_every_frame_and_what_the_numbers_were(make_env: MakeEnv, env_id: str, tmp_path: Path) -> None:
    env = RecordClips(make_env(env_id, action_mode="delta"), tmp_path)
    env.reset(seed=0)
    env.action_space.seed(0)
    clips, rewards, confidences = [], [], []
    for _ in range(3):
        _, reward, _, _, info = env.step(env.action_space.sample())
        clips.append(env.unwrapped.clip)
        rewards.append(reward)
        confidences.append(info["confidence"])
    assert not list(tmp_path.iterdir()), "the episode is not over yet"
    env.close()
    (video,) = tmp_path.iterdir()
    assert video.name == "episode_00000.mp4"
    np.testing.assert_allclose(frame_times(video), np.arange(3 * 17) / 30, atol=1e-3)
    assert frame_size(video) == (CHART.stop, 256)
    shown = frames_of(video)
    pictures = np.concatenate(clips).repeat(4, axis=1).repeat(4, axis=2)
    fits = [difference(one[PICTURE], other) for one, other in zip(shown, pictures, strict=True)]
    away = [difference(shown[17][PICTURE], picture) for picture in pictures]
    assert max(fits) < 12, "compression"
    assert np.argmin(away) == 17, "each frame is in its place"
    headers = [text_strip(f"step {step + 1}   reward {reward:+.2f}", 256) for step, reward in enumerate(rewards)]
    footers = [
        text_strip(f"return {total:+.2f}   confidence {confidence:.1f}", 256)
        for total, confidence in zip(np.cumsum(rewards), confidences, strict=True)
    ]
    for step, frame in enumerate(shown[16::17]):
        for strip, candidates in ((slice(STRIP_HEIGHT), headers), (FOOTER, footers)):
            away = [difference(frame[strip], candidate) for candidate in candidates]
            # Steps may have the same numbers, rounded.
            assert away[step] == min(away) < 2
        whole = max(abs(reward) for reward in rewards)
        assert difference(frame[CHART], reward_chart(rewards[: step + 1], 3, 256, whole)) < 4


@pytest.mark.slow
def test_only_wanted_episodes_are_recorded_and_only_those_with_steps(make_env: MakeEnv, tmp_path: Path) -> None:
    env = RecordClips(make_env(max_episode_steps=2), tmp_path / "new", episode_trigger=lambda episode: episode % 2 == 1)
    for episode in range(5):
        env.reset(seed=episode)
        for _ in range(0 if episode == 3 else 1):
            env.step(env.action_space.sample())
    env.reset()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["episode_00001.mp4"]
    env.step(env.action_space.sample())
    env.close()
    env.close()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["episode_00001.mp4", "episode_00005.mp4"]
    assert len(frames_of(tmp_path / "new" / "episode_00005.mp4")) == 17


@pytest.mark.slow
def test_a_refused_reset_goes_on_recording(make_env: MakeEnv, tmp_path: Path) -> None:
    env = RecordClips(make_env(), tmp_path)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    with pytest.raises(InvalidInputError):
        env.reset(options={"start": -1})
    env.step(env.action_space.sample())
    env.reset()
    assert len(frames_of(tmp_path / "episode_00000.mp4")) == 34


@pytest.mark.slow
def test_inside_of_repeated_actions_no_frame_is_missing(make_env: MakeEnv, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="must be inside RepeatAction, not around it"):
        RecordClips(gymnasium.wrappers.TimeLimit(RepeatAction(make_env(), 2), 2), tmp_path)
    env = RepeatAction(RecordClips(make_env(), tmp_path), 2)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
    assert len(frames_of(tmp_path / "episode_00000.mp4")) == 34


def test_other_environments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"env must be HWM-v0 or HWMReference-v0, got CartPole"):
        RecordClips(gymnasium.make("CartPole-v1"), tmp_path)


def drawn(rewards: list[float], num_steps: int, width: int) -> dict[tuple[int, int], tuple[int, ...]]:
    """Returns row and column of every pixel that is not background."""
    chart = reward_chart(rewards, num_steps, width)
    assert (chart.shape, chart.dtype) == ((48, width, 3), np.uint8)
    coloured = np.argwhere((chart != BACKGROUND).any(axis=-1)).tolist()
    return {(row, column): tuple(chart[row, column].tolist()) for row, column in coloured}


def test_bars_stand_and_hang_in_the_scale_of_the_largest() -> None:
    pixels = drawn([1.0, -0.5, 0.0], num_steps=4, width=40)
    axis = {(24, column): AXIS for column in range(40)}
    # Ten columns a step, one of them free; 22 rows for the largest, from the axis on.
    gain = {(row, column): BLUE for row in range(2, 24) for column in range(9)}
    loss = {(row, column): ORANGE for row in range(25, 36) for column in range(10, 19)}
    assert pixels == axis | gain | loss


@pytest.mark.parametrize("rewards", [[], [0.0, 0.0]])
def test_without_rewards_there_is_only_the_axis(rewards: list[float]) -> None:
    assert drawn(rewards, num_steps=2, width=10) == {(24, column): AXIS for column in range(10)}


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_largest_loss_fills_the_lower_half(scale: float) -> None:
    pixels = drawn([-scale, scale / 2], num_steps=2, width=20)
    assert sorted({row for (row, _), colour in pixels.items() if colour == ORANGE}) == list(range(25, 47))
    assert sorted({row for (row, _), colour in pixels.items() if colour == BLUE}) == list(range(13, 24))


def test_many_steps_are_a_column_wide() -> None:
    rewards: list[Any] = [1.0] * 30
    assert {column for (_, column), colour in drawn(rewards, 30, 30).items() if colour == BLUE} == set(range(30))
