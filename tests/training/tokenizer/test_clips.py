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
    """Writes three shards of different lengths, with segments of 40, 5 and 30 frames and frames that all differ."""
    generator = np.random.default_rng(0)
    writer = DatasetWriter(tmp_path / "raw", image_size=(8, 16))
    for shard, segments in enumerate(([40, 5], [30], [5, 30, 40])):
        numbers = np.repeat(np.arange(len(segments)), segments).astype(np.int32)
        frames = generator.integers(256, size=(len(numbers), 8, 16, 3), dtype=np.uint8)
        writer.write_shard(shard, states=np.zeros((len(numbers), 25), np.float32), segments=numbers, frames=frames)
    writer.finish()
    return Dataset(tmp_path / "raw")


def test_every_window_is_the_same_on_a_device(dataset: Dataset) -> None:
    windows = FrameWindows(dataset, 17)
    every = np.arange(len(windows))
    assert len(windows) == 2 * (24 + 14)
    on_device = ResidentFrames(dataset, windows, CPU).gather(every)
    assert on_device.dtype == torch.uint8
    assert np.array_equal(on_device.numpy(), windows.gather(every).frames)


def test_batches_come_in_the_order_of_their_indices(dataset: Dataset) -> None:
    windows = FrameWindows(dataset, 17)
    indices = [np.array([70, 0, 3]), np.array([3, 3, 25])]
    batches = list(load(dataset, windows, indices, CPU))
    assert len(batches) == 2
    for batch, of_batch in zip(batches, indices, strict=True):
        assert np.array_equal(batch.numpy(), windows.gather(of_batch).frames)
