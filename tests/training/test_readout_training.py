"""The read-out learns a world whose answer is known."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from hwm_env.model.presets import TINY
from hwm_env.training.readout import ReadoutTrainingConfig, judge_readout, labelled_clips, train_readout


def write_world(directory: Path, num_clips: int, *, poses: bool = True) -> Dataset:
    """Clips whose first token tells the pose, and nothing else does."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(TINY.codebook_size, size=(num_clips, 3, *TINY.grid_size), dtype=np.int32)
    of_clip = np.zeros((num_clips, 3), np.float32)
    code = tokens[:, 2, 0, 0]
    of_clip[:, 0] = code % 4 - 1.5
    of_clip[:, 2] = (code // 4 - 1) * 3.0  # headings of -3, 0 and 3 rad: two of them are neighbours across pi
    frames = np.full((num_clips * 17, 3), 100.0, np.float32)
    frames[16::17] = of_clip
    writer = DatasetWriter(directory, token_grid=TINY.grid_size)
    writer.write_shard(
        0,
        states=rng.normal(size=(num_clips * 17, 25)).astype(np.float32),
        segments=np.zeros(num_clips * 17, np.int32),
        tokens=tokens,
        poses=frames if poses else None,
    )
    writer.finish()
    return Dataset(directory)


def test_it_learns_the_pose_of_the_last_frame(tmp_path: Path) -> None:
    data = write_world(tmp_path, 1500)
    config = ReadoutTrainingConfig(steps=150, batch_size=64, max_corruption=0.0)
    error = judge_readout(train_readout(data, config, replace(TINY)), data)
    assert error.median_position_m < 0.3
    assert error.median_heading_deg < 10
    assert error.clips == 1500


def test_the_error_of_a_heading_is_measured_around_the_circle(tmp_path: Path) -> None:
    data = write_world(tmp_path, 60)

    class Fixed(torch.nn.Module):
        def pose(self, tokens: torch.Tensor) -> torch.Tensor:
            truth = labelled_clips(data)[1]
            wrong = truth.clone()
            wrong[:, 0] += 0.5
            wrong[:, 2] += 2 * math.pi - 0.1
            return wrong

    error = judge_readout(Fixed(), data)
    assert error.median_position_m == pytest.approx(0.5, abs=1e-5)
    assert error.p90_heading_deg == pytest.approx(math.degrees(0.1), abs=1e-3)


def test_data_without_poses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no true poses"):
        labelled_clips(write_world(tmp_path, 3, poses=False))
