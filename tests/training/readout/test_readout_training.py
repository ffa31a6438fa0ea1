"""The read-out learns data in which the answer is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.model.presets import TINY
from hwm_env.reference import robot
from hwm_env.reference.body import quantities
from hwm_env.training.readout.train import ReadoutTrainingConfig, judge_readout, labelled_clips, train_readout
from hwm_env.types import ACTION_NAMES

SHOULDER = ACTION_NAMES.index("left_shoulder_pitch")


def write_world(directory: Path, num_clips: int, *, poses: bool = True) -> Dataset:
    """Writes clips in which only the first tokens determine pose and arm of the last frame."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(TINY.codebook_size, size=(num_clips, 3, *TINY.grid_size), dtype=np.int32)
    of_clip, states = np.zeros((num_clips, 3), np.float32), np.tile(robot.REST_POSE, (num_clips * 17, 1))
    code = tokens[:, 2, 0, 0]
    of_clip[:, 0] = code % 4 - 1.5
    of_clip[:, 2] = (code // 4 - 1) * 3.0  # headings of -3, 0 and 3 rad: two of them are neighbours across pi
    states[16::17, SHOULDER] = tokens[:, 2, 1, 1] % 4 * 0.5
    frames = np.full((num_clips * 17, 3), 100.0, np.float32)
    frames[16::17] = of_clip
    writer = DatasetWriter(directory, token_grid=TINY.grid_size)
    writer.write_shard(
        0,
        states=states,
        segments=np.zeros(num_clips * 17, np.int32),
        tokens=tokens,
        poses=frames if poses else None,
    )
    writer.finish()
    return Dataset(directory)


@pytest.mark.slow
def test_it_learns_where_base_and_hand_are_at_the_last_frame(tmp_path: Path) -> None:
    data = write_world(tmp_path, 1500)
    config = ReadoutTrainingConfig(steps=150, batch_size=64, max_corruption=0.0)
    error = judge_readout(train_readout(data, config, TINY), data)
    assert error["base_position"]["median"] < 0.3
    assert error["heading"]["median"] < 10
    # The hand swings by 0.8 m.
    assert error["left_hand"]["median"] < 0.15
    assert error["right_hand"]["median"] < 0.1
    assert error["base_position"]["count"] == 1500


def test_labels_are_those_of_the_last_frames(tmp_path: Path) -> None:
    data = write_world(tmp_path, 20)
    tokens, truth = labelled_clips(data)
    assert truth.dtype == torch.float32
    for clip in range(20):
        pose = [int(tokens[clip, 2, 0, 0]) % 4 - 1.5, 0.0, (int(tokens[clip, 2, 0, 0]) // 4 - 1) * 3.0]
        numbers = robot.pose({"left_shoulder_pitch": int(tokens[clip, 2, 1, 1]) % 4 * 0.5})
        np.testing.assert_allclose(truth[clip], quantities([pose], numbers[None])[0], atol=1e-5)


def test_equal_seeds_train_equal_readouts(tmp_path: Path) -> None:
    data = write_world(tmp_path, 40)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    config = ReadoutTrainingConfig(steps=3, batch_size=8)
    one, other = (train_readout(data, config, TINY).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), state)


def test_auto_takes_what_the_hardware_has(tmp_path: Path, fast_bfloat16: Callable[[bool], None]) -> None:
    data = write_world(tmp_path, 40)

    def trained(precision: str) -> dict[str, torch.Tensor]:
        config = ReadoutTrainingConfig(steps=2, batch_size=8, precision=precision)  # type: ignore[arg-type]
        return train_readout(data, config, TINY).state_dict()

    for is_fast in (True, False):
        fast_bfloat16(is_fast)
        auto = trained("auto")
        for precision, is_equal in (("bfloat16", is_fast), ("float32", not is_fast)):
            named = trained(precision)
            assert all(torch.equal(auto[name], named[name]) for name in auto) == is_equal


def test_data_without_poses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no base poses"):
        labelled_clips(write_world(tmp_path, 3, poses=False))


@pytest.mark.parametrize(
    ("field", "value"), [("batch_size", 0), ("max_corruption", 1.5), ("precision", "float16"), ("steps", 0)]
)
def test_recipes_that_cannot_be_are_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=field):
        ReadoutTrainingConfig(**{field: value})
