"""Clips gathered on a device equal those read from the data set."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data.reader import Dataset
from hwm_env.data.windows import FrameWindows
from hwm_env.data.writer import DatasetWriter
from hwm_env.training.tokenizer.clips import ResidentFrames, load

CPU = torch.device("cpu")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Writes three shards of different lengths, with segments of 40, 5 and 30 frames that all differ."""
    generator = np.random.default_rng(0)
    writer = DatasetWriter(tmp_path / "raw", image_size=(8, 16))
    for shard, segments in enumerate(([40, 5], [30], [5, 30, 40])):
        numbers = np.repeat(np.arange(len(segments)), segments).astype(np.int32)
        frames = generator.integers(256, size=(len(numbers), 8, 16, 3), dtype=np.uint8)
        states, poses = (generator.normal(size=(len(numbers), width)).astype(np.float32) for width in (25, 3))
        writer.write_shard(shard, states=states, segments=numbers, frames=frames, poses=poses)
    writer.finish()
    return Dataset(tmp_path / "raw")


def test_every_window_is_the_same_on_a_device(dataset: Dataset) -> None:
    windows = FrameWindows(dataset, 17)
    every = np.arange(len(windows))
    assert len(windows) == 2 * (24 + 14)
    on_device = ResidentFrames(dataset, windows, CPU).gather(every)
    assert on_device.keyframes is None
    assert on_device.frames.dtype == torch.uint8
    assert np.array_equal(on_device.frames.numpy(), windows.gather(every).frames)


def test_keyframes_are_those_of_the_data_set(dataset: Dataset) -> None:
    windows = FrameWindows(dataset, 17)
    every = np.arange(len(windows))
    gathered = ResidentFrames(dataset, windows, CPU, with_keyframes=True).gather(every).keyframes
    read = next(load(dataset, windows, [every], CPU, with_keyframes=True)).keyframes
    for index in every:
        shard, first = windows.locate(int(index))
        at = [first, first + 8, first + 16]
        for keyframes in (gathered, read):
            assert keyframes is not None
            assert np.array_equal(keyframes.poses[index], dataset.shards[shard].poses[at])  # type: ignore[index]
            assert np.array_equal(keyframes.numbers[index], dataset.shards[shard].states[at])


def test_batches_come_in_the_order_of_their_indices(dataset: Dataset) -> None:
    windows = FrameWindows(dataset, 17)
    indices = [np.array([70, 0, 3]), np.array([3, 3, 25])]
    batches = list(load(dataset, windows, indices, CPU))
    assert len(batches) == 2
    for batch, of_batch in zip(batches, indices, strict=True):
        assert np.array_equal(batch.frames.numpy(), windows.gather(of_batch).frames)
