import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.reader import Dataset
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.reference import collect as collecting
from hwm_env.reference import supervision
from hwm_env.reference.collect import collect, episode_rng
from hwm_env.reference.rendering import can_render
from hwm_env.reference.supervision import Stage
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP
from tests.reference import mischief

EPISODES, CLIPS = 11, 2


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    directory = tmp_path_factory.mktemp("recording") / "data"
    collect(directory, num_episodes=EPISODES, seed=4, split="train", clips_per_episode=CLIPS, workers=2)
    return directory


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(recording: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    collect(alone, num_episodes=EPISODES, seed=4, split="train", clips_per_episode=CLIPS, workers=1)
    assert contents(alone) == contents(recording)


@pytest.mark.slow
def test_workers_that_hang_die_or_raise_change_nothing(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(collecting, "record_job", mischief.record)
    monkeypatch.setattr(collecting, "recording_stages", lambda workers: [Stage("workers", workers, {})] * 20)
    # A worker that takes longer to start is only replaced.
    monkeypatch.setattr(supervision, "_PATIENCE_S", 5.0)
    monkeypatch.setenv(mischief.FOLDER, str(tmp_path))
    collect(tmp_path / "data", num_episodes=EPISODES, seed=4, split="train", clips_per_episode=CLIPS, workers=2)
    for warning in ("did nothing for 5 s", "was killed by signal 9", "failed: KeyError('a bug')"):
        assert warning in caplog.text
    assert contents(tmp_path / "data") == contents(recording)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_episodes_of_a_teleoperator_are_the_same_between_a_commanders(recording: Path, tmp_path: Path) -> None:
    collect(
        tmp_path / "both", num_episodes=2, seed=4, split="train", clips_per_episode=CLIPS, workers=1, behaviour="both"
    )
    frames = CLIPS * FRAMES_PER_CLIP
    smooth, both = Dataset(recording).shards[0].states, Dataset(tmp_path / "both").shards[0].states
    np.testing.assert_array_equal(both[:frames], smooth[:frames])
    assert not np.array_equal(both[frames:], smooth[frames : 2 * frames])


def test_episodes_are_segments_of_whole_clips(recording: Path) -> None:
    dataset = Dataset(recording)
    assert dataset.num_frames == EPISODES * CLIPS * FRAMES_PER_CLIP
    assert [shard.num_frames for shard in dataset.shards] == [10 * CLIPS * FRAMES_PER_CLIP, CLIPS * FRAMES_PER_CLIP]
    segments = np.concatenate([shard.segments for shard in dataset.shards])
    np.testing.assert_array_equal(segments, np.repeat(np.arange(EPISODES), CLIPS * FRAMES_PER_CLIP))
    assert dataset.metadata.extra["split"] == "train"
    assert dataset.metadata.extra["seed"] == 4


def test_poses_integrate_the_recorded_velocities(recording: Path) -> None:
    """A frame's action makes that frame: its pose is the one before, turned and moved at the frame's velocities."""
    for shard in Dataset(recording).shards:
        assert shard.poses is not None
        states, poses = np.array(shard.states, np.float64), np.array(shard.poses, np.float64)
        same_episode = np.diff(shard.segments) == 0
        turn = (np.diff(poses[:, 2]) + np.pi) % (2 * np.pi) - np.pi
        np.testing.assert_allclose(turn[same_episode], states[1:, 24][same_episode] / FRAME_RATE_HZ, atol=1e-5)
        step = np.diff(poses[:, :2], axis=0)
        moved = same_episode & (np.abs(step).max(1) > 0)
        heading = poses[1:, 2] - turn / 2
        forward = step[:, 0] * np.cos(heading) + step[:, 1] * np.sin(heading)
        np.testing.assert_allclose(forward[moved], states[1:, 23][moved] / FRAME_RATE_HZ, atol=1e-5)


def test_frames_change_when_the_robot_moves(recording: Path) -> None:
    shard = Dataset(recording).shards[0]
    assert shard.frames is not None
    change = np.abs(np.diff(np.array(shard.frames, np.int16), axis=0)).mean((1, 2, 3))
    turning = np.abs(shard.states[1:, 24]) > 0.3
    assert (change[turning] > 0.3).all()


def test_seeds_splits_and_episodes_never_share_a_start() -> None:
    keys = [(seed, split, episode) for seed in (0, 1) for split in ("train", "validation") for episode in (0, 1)]
    draws = {episode_rng(*key).random() for key in keys}
    assert len(draws) == len(keys)
    assert episode_rng(0, "train", 3).random() == episode_rng(0, "train", 3).random()


def test_a_finished_data_set_is_not_written_over(recording: Path) -> None:
    before = contents(recording)
    with pytest.raises(DatasetError, match="already"):
        collect(recording, num_episodes=1, seed=0, split="train")
    assert contents(recording) == before


def test_an_unknown_behaviour_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="'teleoperator', 'commander' or 'both', got 'sleeper'"):
        collect(tmp_path / "new", num_episodes=1, seed=0, split="train", behaviour="sleeper")  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("argument", ["num_episodes", "seed", "clips_per_episode", "workers"])
def test_numbers_out_of_range_are_refused_by_name(tmp_path: Path, argument: str) -> None:
    arguments = {"num_episodes": 1, "seed": 0, "clips_per_episode": 1, "workers": 1, argument: -1}
    with pytest.raises(InvalidInputError, match=argument):
        collect(tmp_path / "new", split="train", **arguments)
    assert not (tmp_path / "new").exists()
