"""Videos of the reference world: the same episodes as its recordings, tokenised without a mapping."""

from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import POSE_NAMES, StateMapping, read_states
from hwm_env.data.videos import frame_times, read_frames, resampled
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.reference.collect import collect
from hwm_env.reference.rendering import can_render
from hwm_env.reference.video_episodes import collect_videos
from hwm_env.types import ACTION_NAMES

pytest.importorskip("av")

EPISODES, CLIPS = 2, 2
RECIPE = {"num_episodes": EPISODES, "seed": 4, "split": "validation", "clips_per_episode": CLIPS}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    directory = tmp_path_factory.mktemp("recording") / "videos"
    collect_videos(directory, **RECIPE, workers=2)
    return directory


@pytest.mark.slow
def test_they_are_the_episodes_of_the_recording(videos: Path, tmp_path: Path) -> None:
    collect(tmp_path / "raw", **RECIPE, workers=1)
    shard = Dataset(tmp_path / "raw").shards[0]
    assert shard.frames is not None
    for episode in range(EPISODES):
        of_episode = slice(episode * CLIPS * 17, (episode + 1) * CLIPS * 17)
        video = videos / f"episode_{episode:05d}.mp4"
        times = frame_times(video)
        np.testing.assert_allclose(times, np.arange(CLIPS * 17) / 30, atol=1e-9)
        states = read_states(video.with_suffix(".csv"), StateMapping(), times, len(times))
        assert states.filled == {}
        np.testing.assert_allclose(states.values, shard.states[of_episode], atol=1e-6)
        assert shard.poses is not None
        assert states.poses is not None
        np.testing.assert_allclose(states.poses, shard.poses[of_episode], atol=1e-5)
        frames = np.stack(list(read_frames(video, resampled(times), None)))
        # Colour at half the resolution and a lossy codec; a neighbouring frame would differ by more where it moves.
        error = np.abs(frames.astype(float) - shard.frames[of_episode]).mean((1, 2, 3))
        assert error.max() < 6


@pytest.mark.slow
def test_tables_are_named_and_timed(videos: Path) -> None:
    lines = (videos / "episode_00001.csv").read_text().splitlines()
    assert lines[0].split(",") == ["time", *ACTION_NAMES, *POSE_NAMES]
    assert len(lines) == 1 + CLIPS * 17
    np.testing.assert_allclose([float(line.split(",")[0]) for line in lines[1:]], np.arange(CLIPS * 17) / 30, atol=1e-8)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(videos: Path, tmp_path: Path) -> None:
    collect_videos(tmp_path / "alone", **RECIPE, workers=1)
    assert len(list(videos.iterdir())) == 2 * EPISODES
    for file in videos.iterdir():
        assert (tmp_path / "alone" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_directory_with_files_is_left_alone(videos: Path) -> None:
    before = {path.name: path.read_bytes() for path in videos.iterdir()}
    with pytest.raises(DatasetError, match="expected nothing or an empty directory"):
        collect_videos(videos, **RECIPE)
    assert {path.name: path.read_bytes() for path in videos.iterdir()} == before


@pytest.mark.parametrize("argument", ["num_episodes", "seed", "clips_per_episode", "workers"])
def test_numbers_out_of_range_are_refused_by_name(tmp_path: Path, argument: str) -> None:
    with pytest.raises(InvalidInputError, match=argument):
        collect_videos(tmp_path / "new", **{**RECIPE, "workers": 1, argument: -1})
    assert not (tmp_path / "new").exists()
