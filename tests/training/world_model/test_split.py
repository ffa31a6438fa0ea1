"""The recordings that are held out without a validation split, and the model's shape by its data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from hwm_env.model.presets import MASKED_HWM_FULL, ROOM_64, TINY
from hwm_env.training.world_model.split import fitted, hold_out
from tests.training.worlds import TOKENIZER


def write_shards(directory: Path, count: int, sources: list[str] | None = None) -> Dataset:
    extra = {} if sources is None else {"shard_sources": sources}
    writer = DatasetWriter(directory, token_grid=TINY.grid_size, extra=extra)
    for index in range(count):
        frames = 17 * (index + 1)
        writer.write_shard(
            index,
            states=np.zeros((frames, 25), np.float32),
            segments=np.zeros(frames, np.int32),
            tokens=np.zeros((index + 1, 3, *TINY.grid_size), np.int32),
        )
    writer.finish()
    return Dataset(directory)


def test_a_twentieth_is_held_out_and_nothing_is_lost(tmp_path: Path) -> None:
    data = write_shards(tmp_path, 40)
    train, validation = hold_out(data)
    parts = [{shard.index for shard in part.shards} for part in (train, validation)]
    assert len(parts[1]) == 2
    assert parts[0] | parts[1] == set(range(40))
    assert not parts[0] & parts[1]
    assert train.num_frames + validation.num_frames == data.num_frames


def test_all_offsets_of_a_recording_stay_together(tmp_path: Path) -> None:
    """Otherwise the training would use the same motion, cut into clips in another way."""
    data = write_shards(tmp_path, 6, sources=["a.mp4", "b.mp4", "c.mp4"] * 2)
    train, validation = hold_out(data)
    assert {shard.index for shard in validation.shards} == {1, 4}
    assert {shard.index for shard in train.shards} == {0, 2, 3, 5}


def test_a_single_recording_cannot_be_parted(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="contains 1 recording, so that none can be held out"):
        hold_out(write_shards(tmp_path, 2, sources=["a.mp4", "a.mp4"]))


def test_a_model_takes_the_shape_of_its_data(tmp_path: Path) -> None:
    data = write_shards(tmp_path, 1)
    assert fitted(ROOM_64, data, TOKENIZER) == replace(ROOM_64, grid_size=(2, 3), fsq_levels=TOKENIZER.fsq_levels)
    # A joint vocabulary may be larger than the codebook.
    assert fitted(MASKED_HWM_FULL, data, TOKENIZER) == replace(MASKED_HWM_FULL, grid_size=(2, 3))
