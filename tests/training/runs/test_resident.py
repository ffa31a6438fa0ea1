"""Samples gathered on a device are those that are read from the files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data.reader import Dataset
from hwm_env.data.samples import ClipSamples
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from hwm_env.training.runs.resident import ResidentSamples, fits

CPU = torch.device("cpu")


def write_shards(directory: Path) -> Dataset:
    """Writes three shards with two segments each, the second of which ends in the middle of a clip."""
    rng = np.random.default_rng(0)
    writer = DatasetWriter(directory, token_grid=(2, 2), tokenizer="made up")
    for index, num_clips in enumerate((7, 5, 6)):
        frames = 17 * num_clips - 4
        writer.write_shard(
            index,
            states=rng.normal(size=(frames, 25)).astype(np.float32),
            segments=(np.arange(frames) >= 17 * 2 + 3).astype(np.int32),
            tokens=rng.integers(64, size=(num_clips, 3, 2, 2), dtype=np.int32),
            poses=rng.normal(size=(frames, 3)).astype(np.float32),
        )
    writer.finish()
    return Dataset(directory)


@pytest.mark.parametrize(("past", "future", "with_poses"), [(1, 1, True), (0, 1, False), (0, 2, True)])
def test_they_are_the_samples_of_the_files(tmp_path: Path, past: int, future: int, with_poses: bool) -> None:
    samples = ClipSamples(write_shards(tmp_path), past, future, with_poses=with_poses)
    assert len({samples.windows.locate(index)[0] for index in range(len(samples))}) == 3
    indices = np.random.default_rng(0).permutation(len(samples))
    resident = ResidentSamples(samples, CPU).gather(indices)
    expected = samples.gather(indices)
    assert resident.keys() == expected.keys()
    for name, part in expected.items():
        assert isinstance(part, np.ndarray)
        assert resident[name].dtype == torch.from_numpy(part).dtype
        np.testing.assert_array_equal(resident[name], part)


def test_a_number_that_is_not_finite_is_found(tmp_path: Path) -> None:
    data = write_shards(tmp_path)
    poses = np.array(data.shards[1].poses)
    poses[40, 1] = np.nan
    data.shards = (data.shards[0], data.shards[1].with_poses(poses), data.shards[2])
    samples = ClipSamples(data, 1, with_poses=True)
    with pytest.raises(DatasetError, match="poses of shard 1, frame 40"):
        ResidentSamples(samples, CPU)


def test_a_processor_reads_from_the_files(tmp_path: Path) -> None:
    assert not fits(ClipSamples(write_shards(tmp_path), 1), CPU)
