"""The test split, whose shards are samples without segment files, compared with files written by hand."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.format import Layout
from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.windows import ClipWindows, DroppedClips
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from tests.data.conftest import random_shard

FRAMES = (17 * 4, 17 * 4, 17 * 3 + 5)
CLIPS = (3, 4, 4)
"""The first sample's states continue for one clip after its tokens; the last one ends with a partial clip."""


def write_by_hand(directory: Path, grid: tuple[int, int] = (32, 32)) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(3)
    states = [rng.normal(size=(frames, 25)).astype("<f4") for frames in FRAMES]
    tokens = [rng.integers(0, 64_000, size=(clips, 3, *grid)).astype("<i4") for clips in CLIPS]
    for index in range(len(FRAMES)):
        states[index].tofile(directory / f"states_{index}.bin")
        tokens[index].tofile(directory / f"video_{index}.bin")
    return states, tokens


def write_metadata(directory: Path, **change: object) -> None:
    content = {"num_shards": len(FRAMES), "hz": 30, "num_images": sum(FRAMES), **change}
    (directory / "metadata.json").write_text(json.dumps(content))


@pytest.mark.parametrize("metadata", ["none", "of the data set", "of shards as well"])
def test_samples_are_read_with_or_without_metadata(tmp_path: Path, metadata: str) -> None:
    states, tokens = write_by_hand(tmp_path)
    if metadata != "none":
        write_metadata(tmp_path, split="test")
    if metadata == "of shards as well":
        for index, frames in enumerate(FRAMES):
            (tmp_path / f"metadata_{index}.json").write_text(json.dumps({"shard_num_frames": frames}))
    dataset = Dataset(tmp_path)
    assert (dataset.metadata.num_shards, dataset.metadata.hz, dataset.metadata.num_images) == (3, 30, sum(FRAMES))
    for index, shard in enumerate(dataset.shards):
        assert (shard.num_frames, shard.num_clips) == (FRAMES[index], CLIPS[index])
        np.testing.assert_array_equal(shard.states, states[index])
        np.testing.assert_array_equal(shard.tokens, tokens[index])
        np.testing.assert_array_equal(shard.segments, np.zeros(FRAMES[index]))
        assert shard.segments.dtype == np.int32


def test_windows_end_with_the_tokens(tmp_path: Path) -> None:
    states, tokens = write_by_hand(tmp_path)
    windows = ClipWindows(Dataset(tmp_path), 3)
    assert [windows.locate(index) for index in range(len(windows))] == [(0, 0), (1, 0), (1, 1), (2, 0)]
    assert windows.dropped == DroppedClips(partial=1, crossing=0, too_short=0)
    batch = windows.gather(np.array([0, 2, 3]))
    for row, (sample, clip) in enumerate([(0, 0), (1, 1), (2, 0)]):
        np.testing.assert_array_equal(batch.tokens[row], tokens[sample][clip : clip + 3])
        np.testing.assert_array_equal(batch.actions[row].reshape(51, 25), states[sample][17 * clip :][:51])
    assert ClipWindows(Dataset(tmp_path), 4).dropped == DroppedClips(partial=1, crossing=0, too_short=6)


def test_statistics_and_copies(tmp_path: Path) -> None:
    states, _ = write_by_hand(tmp_path)
    dataset = pickle.loads(pickle.dumps(Dataset(tmp_path)))
    statistics = ActionStatistics.from_dataset(dataset)
    np.testing.assert_array_equal(statistics.high, np.concatenate(states).max(axis=0))
    changes = [np.abs(np.diff(of_sample, axis=0)).max(axis=0) for of_sample in states]
    np.testing.assert_array_equal(statistics.max_change, np.max(changes, axis=0))


def test_another_grid_is_declared(tmp_path: Path) -> None:
    _, tokens = write_by_hand(tmp_path, grid=(4, 6))
    write_metadata(tmp_path, token_grid=[4, 6])
    np.testing.assert_array_equal(Dataset(tmp_path).shards[0].tokens, tokens[0])


@pytest.mark.parametrize("name", ["states_1.bin", "video_1.bin", "states_2.bin", "video_2.bin"])
def test_a_gap_is_named(tmp_path: Path, name: str) -> None:
    write_by_hand(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DatasetError, match=rf"{tmp_path / name}.*found nothing; copy it again"):
        Dataset(tmp_path)


def test_more_clips_than_frames_allow(tmp_path: Path) -> None:
    write_by_hand(tmp_path)
    np.zeros((5, 3, 32, 32), "<i4").tofile(tmp_path / "video_1.bin")
    with pytest.raises(DatasetError, match=r"video_1\.bin: expected 49152 bytes .*\[4, 3, 32, 32\]\), got 61440"):
        Dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("video_0.bin", 0, "got 0"),
        ("video_0.bin", 12288 * 2 + 4, "got 24580"),
        ("states_0.bin", 0, "expected one or more frames of 100 bytes each, got 0 bytes"),
        ("states_0.bin", 1702, "expected one or more frames of 100 bytes each, got 1702 bytes"),
        ("states_0.bin", 1700, r"video_0\.bin: expected 12288 bytes"),
    ],
)
def test_files_cut_short(tmp_path: Path, name: str, size: int, message: str) -> None:
    write_by_hand(tmp_path)
    with (tmp_path / name).open("r+b") as file:
        file.truncate(size)
    with pytest.raises(DatasetError, match=rf"{tmp_path}/.*{message}.*copy it again"):
        Dataset(tmp_path)


def test_metadata_that_disagrees(tmp_path: Path) -> None:
    write_by_hand(tmp_path)
    write_metadata(tmp_path, num_images=sum(FRAMES) - 1)
    with pytest.raises(DatasetError, match="says 191 images, but its 3 shards have 192 frames"):
        Dataset(tmp_path)
    for num_shards in (2, 4):
        write_metadata(tmp_path, num_shards=num_shards)
        with pytest.raises(DatasetError, match=rf"says {num_shards} shards.*those of 3; copy"):
            Dataset(tmp_path)
    write_metadata(tmp_path)
    (tmp_path / "metadata_2.json").write_text('{"shard_num_frames": 55}')
    with pytest.raises(DatasetError, match=r"states_2\.bin: expected 5500 bytes"):
        Dataset(tmp_path)


def test_a_flat_split_that_lost_segments_is_no_test_split(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, layout=Layout.FLAT, token_grid=(2, 3))
    for index in range(2):
        arrays = random_shard([0] * 900 + [1] * 901)
        writer.write_shard(index, **{name: arrays[name] for name in ("states", "segments", "tokens")})
    writer.finish()
    for index in range(2):
        (tmp_path / f"segment_idx_{index}.bin").unlink()
        with pytest.raises(DatasetError, match=r"segment_idx_0\.bin.*found nothing.*copy it again"):
            Dataset(tmp_path)


def test_samples_keep_no_descriptors(tmp_path: Path) -> None:
    """There are hundreds of them."""
    write_by_hand(tmp_path)
    before = os.listdir("/proc/self/fd")
    dataset = Dataset(tmp_path)
    for shard in dataset.shards:
        assert shard.states.any()
        assert shard.tokens.any()
    assert len(os.listdir("/proc/self/fd")) == len(before)
