"""Samples, compared with the arrays that were written."""

import pickle

import numpy as np
import pytest
from torch.utils.data import DataLoader

from hwm_env.data.samples import ClipSamples
from hwm_env.errors import DatasetError, InvalidInputError


def test_samples_have_the_layout_that_people_know(write_dataset) -> None:
    dataset, (shard,) = write_dataset([0] * 17 * 6)
    samples = ClipSamples(dataset, 3, 2)
    assert len(samples) == 2
    sample = samples[1]
    np.testing.assert_array_equal(sample["video_past"], shard["tokens"][1:4])
    np.testing.assert_array_equal(sample["video_future"], shard["tokens"][4:6])
    np.testing.assert_array_equal(sample["actions_past"], shard["states"][17 : 17 * 4])
    np.testing.assert_array_equal(sample["actions_future"], shard["states"][17 * 4 :])
    assert {name: part.dtype for name, part in sample.items()} == {
        "video_past": np.int32,
        "video_future": np.int32,
        "actions_past": np.float32,
        "actions_future": np.float32,
    }


def test_samples_have_poses_where_asked_for(write_dataset) -> None:
    dataset, (shard,) = write_dataset([0] * 17 * 6)
    samples = ClipSamples(dataset, 3, 2, with_poses=True)
    sample = samples[1]
    np.testing.assert_array_equal(sample["poses_past"], shard["poses"][17 : 17 * 4])
    np.testing.assert_array_equal(sample["poses_future"], shard["poses"][17 * 4 :])
    np.testing.assert_array_equal(samples[np.array([0, 1])]["poses_past"][1], sample["poses_past"])
    for name, part in ClipSamples(dataset, 3, 2)[1].items():
        np.testing.assert_array_equal(sample[name], part)


def test_a_batch_is_its_samples(write_dataset) -> None:
    dataset, _ = write_dataset([0] * 17 * 4 + [1] * 17 * 5, [2] * 17 * 4)
    samples = ClipSamples(dataset, 2)
    batch = samples[np.array([4, 0, 6])]
    for row, index in enumerate([4, 0, 6]):
        for name, part in samples[index].items():
            np.testing.assert_array_equal(batch[name][row], part)


def test_a_future_alone_is_a_sample(write_dataset) -> None:
    dataset, (shard,) = write_dataset([0] * 17 * 2)
    sample = ClipSamples(dataset, 0)[1]
    assert sample["video_past"].shape == (0, 3, 2, 3)
    assert sample["actions_past"].shape == (0, 25)
    np.testing.assert_array_equal(sample["video_future"], shard["tokens"][1:])


@pytest.mark.slow
def test_a_loader_with_workers_reads_the_same(write_dataset) -> None:
    dataset, _ = write_dataset([0] * 17 * 9)
    samples = ClipSamples(dataset, 2)
    order = [np.array([3, 1]), np.array([6, 0])]
    loader = DataLoader(samples, batch_size=None, sampler=order, num_workers=2)
    for indices, batch in zip(order, loader, strict=True):
        for name, part in samples.gather(indices).items():
            np.testing.assert_array_equal(batch[name].numpy(), part)


def test_a_copy_leaves_the_arrays_behind(write_dataset) -> None:
    dataset, _ = write_dataset([0] * 17 * 400)
    samples = ClipSamples(dataset, 2)
    samples[0]
    content = pickle.dumps(samples)
    assert len(content) < 17 * 400 * 25  # One byte for each number would be more.
    np.testing.assert_array_equal(pickle.loads(content)[5]["video_past"], samples[5]["video_past"])


def test_impossible_samples_are_refused(write_dataset) -> None:
    dataset, _ = write_dataset([0] * 17 * 2)
    with pytest.raises(InvalidInputError, match="0 past and 1 future clips, got 1 and 0"):
        ClipSamples(dataset, 1, 0)
    with pytest.raises(DatasetError, match="3 whole clips"):
        ClipSamples(dataset, 2, 1)
    with pytest.raises(InvalidInputError, match="window indices"):
        ClipSamples(dataset, 1)[np.array([1])]
