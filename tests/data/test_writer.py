import multiprocessing
import signal
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError, SavingError
from tests.data.conftest import WRITTEN_LAYOUTS
from tests.disks import content_of, full_disk
from tests.file_operations import FileOperations

SPAWN = multiprocessing.get_context("spawn")


def shard(num_frames: int = 20) -> dict[str, np.ndarray]:
    return {"states": np.zeros((num_frames, 25), np.float32), "segments": np.zeros(num_frames, np.int32)}


@pytest.mark.slow
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    layout=st.sampled_from(WRITTEN_LAYOUTS),
    extra=st.dictionaries(st.sampled_from(["split", "seed", "note"]), st.integers() | st.text()),
)
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(write_dataset, lengths, layout, extra) -> None:
    dataset, shards = write_dataset(*(np.arange(length) // 7 for length in lengths), layout=layout, extra=extra)
    assert dataset.metadata.extra == extra
    assert dataset.metadata.num_images == sum(lengths)
    for read, written in zip(dataset.shards, shards, strict=True):
        for name, array in written.items():
            got = getattr(read, name)
            assert got.dtype == array.dtype
            np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("num_frames", [20, 6000])
def test_arrays_are_read_only(write_dataset, num_frames: int) -> None:
    dataset, _ = write_dataset([0] * num_frames)
    with pytest.raises(ValueError, match="read-only"):
        dataset.shards[0].states[0, 0] = 1


def test_non_contiguous_arrays_are_written_right(tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(size=(25, 40)).astype(np.float32).T[::2]
    writer = DatasetWriter(tmp_path)
    writer.write_shard(0, states=states, segments=np.zeros(40, np.int32)[::2])
    writer.finish()
    np.testing.assert_array_equal(Dataset(tmp_path).shards[0].states, states)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": np.zeros((20, 24), np.float32)}, r"states: expected shape \[20, 25\], got \[20, 24\]"),
        ({"states": np.full((20, 25), np.nan, np.float32)}, "states: every number must be finite"),
        ({"states": np.full((20, 25), np.inf, np.float32)}, "states: every number must be finite"),
        ({"states": np.zeros((20, 25))}, "states: expected float32, got float64"),
        ({"states": np.zeros((0, 25), np.float32)}, "at least one frame"),
        ({"segments": np.zeros(19, np.int32)}, r"segments: expected shape \[20\]"),
        ({"segments": np.zeros(20, np.int64)}, "segments: expected int32, got int64"),
        ({"tokens": np.zeros((2, 3, 8, 8), np.int32)}, "token_grid not set"),
        ({"frames": None}, "frames missing, image_size set"),
        ({"frames": np.zeros((20, 4, 6, 3), np.float32)}, "frames: expected uint8, got float32"),
        ({"frames": np.zeros((20, 6, 4, 3), np.uint8)}, r"frames: expected shape \[20, 4, 6, 3\]"),
        ({"poses": np.zeros((20, 2), np.float32)}, r"poses: expected shape \[20, 3\]"),
        ({"index": -1}, "index must be at least 0"),
    ],
)
def test_bad_shards_are_refused_and_nothing_is_written(tmp_path: Path, change, message: str) -> None:
    writer = DatasetWriter(tmp_path / "new", image_size=(4, 6))
    arguments = {"index": 0, **shard(), "frames": np.zeros((20, 4, 6, 3), np.uint8), **change}
    with pytest.raises(InvalidInputError, match=message):
        writer.write_shard(**arguments)
    assert not (tmp_path / "new").exists()


def test_a_finished_data_set_is_not_written_over(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path)
    writer.write_shard(0, **shard())
    writer.finish()
    with pytest.raises(DatasetError, match="already holds a data set"):
        DatasetWriter(tmp_path)
    with pytest.raises(DatasetError, match="found a file"):
        DatasetWriter(tmp_path / "metadata.json")


def test_finish_notices_missing_and_foreign_shards(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected at least 1 shards, found 0"):
        DatasetWriter(tmp_path).finish()
    DatasetWriter(tmp_path).write_shard(0, **shard())
    DatasetWriter(tmp_path).write_shard(2, **shard())
    with pytest.raises(DatasetError, match=r"metadata_1\.json"):
        DatasetWriter(tmp_path).finish()
    DatasetWriter(tmp_path).write_shard(1, **shard())
    with pytest.raises(DatasetError, match="expected 2 shards, found 3"):
        DatasetWriter(tmp_path).finish(num_shards=2)
    assert DatasetWriter(tmp_path).finish(num_shards=3).num_images == 60


def test_a_full_disk_leaves_no_half_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = DatasetWriter(tmp_path)
    writer.write_shard(0, **shard(30))

    before = content_of(tmp_path)
    for files_that_fit in range(3):
        refused = pytest.raises(SavingError, match=r"could not write .*_1\..*No space left.*make room")
        with full_disk(monkeypatch, files_that_fit), refused:
            writer.write_shard(1, **shard())
        # Rewriting a shard must not leave the metadata of its old version beside new arrays.
        with full_disk(monkeypatch, files_that_fit), pytest.raises(SavingError, match="No space left"):
            writer.write_shard(0, **shard(20))
    assert content_of(tmp_path) == before
    assert writer.finish(num_shards=1).num_images == 30


def _write_shards(directory: Path, operations: int) -> None:
    FileOperations(directory, ("operations", operations))
    writer = DatasetWriter(directory)
    for index in count():
        writer.write_shard(index, **shard())


@pytest.mark.slow
@pytest.mark.parametrize("operations", range(48, 52))
def test_an_interrupted_write_is_recognised_and_can_be_done_again(tmp_path: Path, operations: int) -> None:
    process = SPAWN.Process(target=_write_shards, args=(tmp_path, operations))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(DatasetError, match="interrupted"):
        Dataset(tmp_path)
    written = len(list((tmp_path / "metadata").glob("metadata_*.json")))
    writer = DatasetWriter(tmp_path)
    for index in range(written + 1):
        writer.write_shard(index, **shard())
    writer.finish(written + 1)
    assert Dataset(tmp_path).num_frames == 20 * (written + 1)
    assert not list(tmp_path.rglob("*.tmp"))  # Nothing is left of the interrupted write.


def _write_one(writer: DatasetWriter, index: int) -> None:
    writer.write_shard(index, states=np.full((50, 25), index, np.float32), segments=np.full(50, index, np.int32))


@pytest.mark.slow
def test_processes_write_shards_side_by_side(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path)
    with SPAWN.Pool(3) as pool:
        pool.starmap(_write_one, [(writer, index) for index in range(9)], chunksize=1)
    writer.finish(9)
    for index, read in enumerate(Dataset(tmp_path).shards):
        assert (read.states == index).all()
        assert (read.segments == index).all()
