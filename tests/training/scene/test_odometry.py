"""The odometry learns a room with one wall, only from poses and wheels."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.training.scene.odometry import (
    OdometryTrainingConfig,
    find_moves,
    judge_odometry,
    train_odometry,
)
from hwm_env.types import ANGULAR_VELOCITY, FRAME_RATE_HZ, LINEAR_VELOCITY, Float32Array

WALL_M = 1.0
FRAMES = 6 * 17
CONFIG = OdometryTrainingConfig(steps=300, batch_size=256, slope_places=128)


def record(rng: np.random.Generator, wall_m: float) -> tuple[Float32Array, Float32Array]:
    """Returns poses and numbers of a drive in a plane with a wall at a maximum x."""
    numbers = np.zeros((FRAMES, 25), np.float32)
    numbers[:, LINEAR_VELOCITY] = 0.6
    numbers[:, ANGULAR_VELOCITY] = np.repeat(rng.normal(size=6), 17)
    x, y, yaw = rng.uniform(-1, min(wall_m, 1)), rng.uniform(-1, 1), rng.uniform(-np.pi, np.pi)
    poses = np.empty((FRAMES, 3))
    for frame in range(FRAMES):
        turn = numbers[frame, ANGULAR_VELOCITY] / FRAME_RATE_HZ
        chord = numbers[frame, LINEAR_VELOCITY] / FRAME_RATE_HZ * np.sinc(turn / (2 * np.pi))
        to_x, to_y = x + chord * np.cos(yaw + turn / 2), y + chord * np.sin(yaw + turn / 2)
        if to_x <= wall_m:
            x, y = to_x, to_y
        yaw += turn
        poses[frame] = x, y, yaw
    return poses.astype(np.float32), numbers


def write_drives(
    directory: Path, num: int, *, seed: int = 0, wall_m: float = WALL_M, poses: bool = True, error_m: float = 0.0
) -> Dataset:
    """Writes a data set of drives; all places of a drive have the same error."""
    rng = np.random.default_rng(seed)
    drives = [record(rng, wall_m) for _ in range(num)]
    errors = np.array([[*rng.normal(0, error_m, 2), 0.0] for _ in drives])
    shown = (np.stack([of for of, _ in drives]) + errors[:, None]).reshape(-1, 3).astype(np.float32)
    writer = DatasetWriter(directory)
    writer.write_shard(
        0,
        states=np.concatenate([numbers for _, numbers in drives]),
        segments=np.repeat(np.arange(num, dtype=np.int32), FRAMES),
        poses=shown if poses else None,
    )
    writer.finish()
    return Dataset(directory)


@pytest.mark.slow
@pytest.mark.parametrize("error_m", [0.0, 0.02])
def test_it_learns_to_stop_at_a_wall(tmp_path: Path, error_m: float) -> None:
    odometry = train_odometry(write_drives(tmp_path / "train", 60, error_m=error_m), CONFIG)
    assert not odometry.training
    at_wall = torch.tensor([0.5, 0.5, -0.5, 0.0])
    numbers = torch.zeros(4, 34, 25)
    numbers[..., LINEAR_VELOCITY] = 0.6
    numbers[3, :, LINEAR_VELOCITY] = -0.6
    starts = torch.stack([torch.full((4,), 0.8), at_wall, torch.zeros(4)], dim=1)
    ends = odometry(starts, numbers)[:, -1]
    assert (ends[:3, 0] - WALL_M).abs().max() < 0.05
    assert ends[3, 0].item() == pytest.approx(0.8 - 34 * 0.02, abs=1e-4)

    judgement = judge_odometry(odometry, write_drives(tmp_path / "other", 40, seed=1))
    assert [drift.clips for drift in judgement.learned] == [5]
    (learned,), (wheels,) = judgement.learned, judgement.wheels
    assert learned.recordings == wheels.recordings == 40
    assert wheels.off_share > 0.2
    assert learned.off_share < wheels.off_share / 2
    assert learned.mean_m < wheels.mean_m / 4
    assert judgement.blocked_accuracy is not None
    assert judgement.free_accuracy is not None
    assert judgement.free_accuracy > 0.95
    assert judgement.blocked_accuracy > (0.75 if error_m == 0 else 0.5)


def test_moves_tell_only_within_a_segment_and_above_the_smallest(tmp_path: Path) -> None:
    states = np.zeros((6, 25), np.float32)
    states[:, LINEAR_VELOCITY] = 0.6, 0.6, 0.6, 0.03, 0.6, -0.6
    poses = np.zeros((6, 3), np.float32)
    poses[:, 0] = 0.0, 0.02, 0.02, 0.021, 5.0, 4.98
    writer = DatasetWriter(tmp_path)
    writer.write_shard(0, states=states, segments=np.array([0, 0, 0, 0, 1, 1], np.int32), poses=poses)
    writer.finish()
    moves = find_moves(Dataset(tmp_path), OdometryTrainingConfig())
    assert moves.blocked.tolist() == [False, True, False]
    assert moves.starts_m[:, 0].tolist() == pytest.approx([0.0, 0.02, 5.0])
    assert moves.ends_m[:, 0].tolist() == pytest.approx([0.02, 0.04, 4.98])


def test_without_a_blocked_move_all_is_free(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_drives(tmp_path, 3, wall_m=np.inf)
    with caplog.at_level(logging.INFO, logger="hwm_env"):
        odometry = train_odometry(data, CONFIG)
    assert "free everywhere" in caplog.text
    assert (odometry.free_logit(torch.tensor([[0.0, 0.0], [500.0, -500.0]])) > 0).all()
    judgement = judge_odometry(odometry, data)
    assert judgement.learned == judgement.wheels
    assert judgement.learned[0].mean_m < 1e-4
    assert (judgement.blocked_accuracy, judgement.free_accuracy) == (None, 1.0)


def test_equal_seeds_train_equal_odometries(tmp_path: Path) -> None:
    data = write_drives(tmp_path, 20)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    config = OdometryTrainingConfig(steps=3, batch_size=8, slope_places=4)
    one, other = (train_odometry(data, config).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), state)


def test_data_without_poses_are_refused(tmp_path: Path) -> None:
    data = write_drives(tmp_path, 1, poses=False)
    with pytest.raises(DatasetError, match="no base poses"):
        train_odometry(data, CONFIG)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch_size": 3}, {"blocked_share": 0.0}, {"margin_m": 0.0}, {"slope_weight": -1.0}]
)
def test_recipes_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        OdometryTrainingConfig(**wrong)  # type: ignore[arg-type]
