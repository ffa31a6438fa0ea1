"""What LeRobotWriter writes, read with pyarrow and PyAV alone, and by hwm_env's own reader."""

import json
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.lerobot import LeRobotLayout
from hwm_env.data.lerobot_statistics import combined, statistics_of, statistics_of_pictures
from hwm_env.data.lerobot_writer import HEAD, EncodedEpisode, LeRobotWriter, encode_episode
from hwm_env.data.state_tables import POSE_NAMES, StateMapping
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.tokenizers.lerobot_source import lerobot_source
from hwm_env.types import ACTION_NAMES
from tests.arm import ARM

pytest.importorskip("av")
parquet = pytest.importorskip("pyarrow.parquet")

LENGTHS = (34, 20)


def inputs(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of one grey that grows, and random states and poses."""
    rng, length = np.random.default_rng(index), LENGTHS[index]
    greys = (100 * index + 2 * np.arange(length)).astype(np.uint8)
    frames = np.ascontiguousarray(np.broadcast_to(greys[:, None, None, None], (length, 16, 16, 3)))
    states, poses = (rng.uniform(-3, 3, (length, size)).astype(np.float32) for size in (25, 3))
    return frames, states, poses


def episode(index: int, with_poses: bool = True) -> EncodedEpisode:
    frames, states, poses = inputs(index)
    return encode_episode(index, sum(LENGTHS[:index]), frames, states, poses if with_poses else None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    writer = LeRobotWriter(tmp_path / "data", "walk to the door")
    # Workers may finish in any order.
    for index in (1, 0):
        writer.add(episode(index))
    assert not (tmp_path / "data/meta").exists()
    writer.finish()
    return tmp_path / "data"


def test_the_metadata_describe_the_files(directory: Path) -> None:
    info = json.loads((directory / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 30, 2, 54)
    names = {name: feature["names"] for name, feature in info["features"].items()}
    assert names["observation.state"] == names["action"] == list(ACTION_NAMES)
    assert names["observation.base_pose"] == list(POSE_NAMES)
    assert info["features"][HEAD]["shape"] == [16, 16, 3]
    tasks = parquet.read_table(directory / "meta/tasks.parquet").to_pydict()
    assert tasks == {"task_index": [0], "__index_level_0__": ["walk to the door"]}
    for index in (0, 1):
        (row,) = parquet.read_table(directory / f"meta/episodes/chunk-000/file-{index:03d}.parquet").to_pylist()
        assert row["dataset_from_index"] == (0, 34)[index]
        assert row["dataset_to_index"] == (34, 54)[index]
        assert (row["length"], row["tasks"]) == (LENGTHS[index], ["walk to the door"])
        assert row[f"videos/{HEAD}/to_timestamp"] == pytest.approx(LENGTHS[index] / 30)
        assert row["meta/episodes/file_index"] == row["data/file_index"] == index


def test_the_rows_have_the_next_state_as_action(directory: Path) -> None:
    for index in (0, 1):
        rows = parquet.read_table(directory / f"data/chunk-000/file-{index:03d}.parquet").to_pydict()
        _, states, poses = inputs(index)
        np.testing.assert_array_equal(rows["observation.state"], states)
        np.testing.assert_array_equal(rows["action"][:-1], states[1:])
        np.testing.assert_array_equal(rows["action"][-1], states[-1])
        np.testing.assert_array_equal(rows["observation.base_pose"], poses)
        np.testing.assert_allclose(rows["timestamp"], np.arange(LENGTHS[index]) / 30, atol=1e-6)
        np.testing.assert_array_equal(rows["index"], sum(LENGTHS[:index]) + np.arange(LENGTHS[index]))
        assert set(rows["episode_index"]) == {index}


def test_statistics_are_those_of_all_rows(directory: Path) -> None:
    statistics = json.loads((directory / "meta/stats.json").read_text())
    states = np.concatenate([inputs(index)[1] for index in (0, 1)])
    frames = np.concatenate([inputs(index)[0] for index in (0, 1)]) / 255
    for name, values in (("observation.state", states), (HEAD, frames)):
        axes = tuple(range(values.ndim - 1))
        of_feature = statistics[name]
        assert of_feature["count"] == [54]
        for statistic in ("min", "max", "mean", "std"):
            expected = getattr(np, statistic)(values.astype(float), axis=axes)
            np.testing.assert_allclose(np.ravel(of_feature[statistic]), expected, rtol=1e-9, atol=1e-12)
    assert np.shape(statistics[HEAD]["mean"]) == (3, 1, 1)


def test_parts_are_combined_to_the_statistics_of_the_whole() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4))
    parts = combined([statistics_of(part) for part in np.split(rows, [3, 20])])
    for name, whole in statistics_of(rows).items():
        np.testing.assert_allclose(parts[name], whole, rtol=1e-12)
    single = statistics_of_pictures(np.full((2, 4, 4, 3), 255, np.uint8))
    assert single["std"] == [[[0.0]]] * 3


def test_they_are_read_back_equal(directory: Path) -> None:
    source = lerobot_source(directory, (0,), StateMapping(), None)
    assert source.extra["filled_actions"] == {}
    assert source.image_size == (16, 16)
    for index, job in enumerate(source.jobs):
        recording, (frames, states, poses) = job.read(), inputs(index)
        # A video's time stamps are rounded, by far less than a frame.
        np.testing.assert_allclose(recording.states, states, atol=1e-4)
        assert recording.poses is not None
        np.testing.assert_allclose(recording.poses[:, :2], poses[:, :2], atol=1e-4)
        np.testing.assert_allclose(np.stack(list(recording.frames)).astype(int), frames, atol=3)


def test_episodes_can_be_added_after_the_metadata_were_written(tmp_path: Path) -> None:
    writer = LeRobotWriter(tmp_path, "walk")
    for index in (0, 1):
        writer.add(episode(index, with_poses=False))
        writer.finish()
        layout = LeRobotLayout.read(tmp_path)
        assert list(layout.episodes) == list(range(index + 1))
        assert "observation.base_pose" not in layout.features.sizes


def test_wrong_inputs_are_refused(directory: Path) -> None:
    with pytest.raises(DatasetError, match="expected nothing or an empty directory"):
        LeRobotWriter(directory, "walk")
    frames, states, poses = inputs(0)
    with pytest.raises(InvalidInputError, match=r"expected states \[34, J\]"):
        encode_episode(0, 0, frames, states[1:], poses)
    with pytest.raises(InvalidInputError, match=r"expected states \[N, 6\], the joints of SO-101, got \[N, 25\]"):
        LeRobotWriter(directory.parent / "arm", "walk", ARM).add(encode_episode(0, 0, frames, states, poses))
    with pytest.raises(InvalidInputError, match="even sides, which videos need, got 15 x 16"):
        encode_episode(0, 0, frames[:, 1:], states, poses)
