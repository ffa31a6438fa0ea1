"""States of robots with joints of their own: which columns they come from, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.data.state_tables import StateMapping, read_states
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.robot import EVE, Joint, Robot
from tests.arm import ARM, COLUMNS
from tests.data.test_state_tables import FRAMES_30, write_csv

MAPPING = StateMapping(robot=ARM)


def measured(rows: int = 31) -> dict[str, np.ndarray]:
    """Different values for each joint, all within the limits."""
    waves = np.sin(np.linspace(0, 3, rows)[:, None] + np.arange(6))
    return dict(zip(ARM.names, (0.5 + 0.5 * waves).T, strict=True))


def test_joints_come_from_columns_of_their_own_names_and_the_rest_is_held(tmp_path: Path) -> None:
    columns = measured()
    path = write_csv(tmp_path / "a.csv", dict(sorted(columns.items())))
    states = read_states(path, replace(MAPPING, fill={"neck_pitch": 0.3}), FRAMES_30, 31)
    np.testing.assert_allclose(states.values[:, COLUMNS], np.column_stack(list(columns.values())), atol=1e-6)
    rest = np.delete(np.arange(25), COLUMNS)
    np.testing.assert_array_equal(states.values[:, rest], np.where(rest == 20, np.float32(0.3), 0) * np.ones((31, 1)))
    assert set(states.filled) == set(ARM.unused)


def test_an_array_without_names_is_in_the_robots_order(tmp_path: Path) -> None:
    array = np.column_stack(list(measured().values()))
    np.save(tmp_path / "a.npy", array)
    states = read_states(tmp_path / "a.npy", MAPPING, FRAMES_30, 31)
    np.testing.assert_allclose(states.values[:, COLUMNS], array, atol=1e-6)
    np.save(tmp_path / "b.npy", array[:, :5])
    with pytest.raises(DatasetError, match=r"b\.npy: expected an array \[rows, 6\], got 5 columns"):
        read_states(tmp_path / "b.npy", MAPPING, FRAMES_30, 31)


def test_degrees_are_those_of_joints_alone(tmp_path: Path) -> None:
    columns = {name: 10 * values for name, values in measured().items()} | {"gripper.pos": measured()["gripper.pos"]}
    path = write_csv(tmp_path / "a.csv", columns)
    states = read_states(path, replace(MAPPING, angle_unit="deg"), FRAMES_30, 31)
    expected = np.column_stack([columns["gripper.pos"], *(np.radians(columns[name]) for name in ARM.names[1:])])
    np.testing.assert_allclose(states.values[:, COLUMNS], expected, atol=1e-6)


def test_any_unit_is_allowed_where_a_robot_states_no_limits(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", {**measured(), "wrist_roll.pos": np.full(31, 95.0)})
    assert read_states(path, MAPPING, FRAMES_30, 31).values[:, 12] == pytest.approx(95.0)


@pytest.mark.parametrize(("value", "is_refused"), [(1.92, False), (1.95, False), (1.97, True), (-1.97, True)])
def test_what_is_measured_beyond_the_limits_is_refused(tmp_path: Path, value: float, is_refused: bool) -> None:
    """An overshoot of 1 % of the range, here 0.0384, is allowed."""
    columns = measured()
    columns["shoulder_pan.pos"][7] = value
    path = write_csv(tmp_path / "walk.csv", columns)
    if not is_refused:
        assert read_states(path, MAPPING, FRAMES_30, 31).values[7, 8] == pytest.approx(value)
        return
    message = rf"walk\.csv: row 7, column 'shoulder_pan.pos': expected .* from -1.92 to 1.92.*SO-101, got {value:g}"
    with pytest.raises(DatasetError, match=message):
        read_states(path, MAPPING, FRAMES_30, 31)


def test_a_joint_without_a_column_is_refused(tmp_path: Path) -> None:
    columns = measured()
    del columns["elbow_flex.pos"]
    path = write_csv(tmp_path / "walk.csv", columns)
    with pytest.raises(InvalidInputError, match=r"walk\.csv: SO-101 has elbow_flex.pos, but no column gives it"):
        read_states(path, MAPPING, FRAMES_30, 31)


def test_mappings_with_a_robot_are_read_and_written(tmp_path: Path) -> None:
    mapping = StateMapping(robot=ARM, columns={"gripper.pos": "hand"}, fill={"neck_pitch": 0.1})
    (tmp_path / "mapping.json").write_text(json.dumps(mapping.to_json()))
    assert StateMapping.read(tmp_path / "mapping.json") == mapping


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"robot": ARM.to_json(), "columns": {"hip_yaw": "a"}}, "columns names 'hip_yaw'; expected names from gripper"),
        ({"robot": ARM.to_json(), "fill": {"left_elbow_pitch": 0}}, "fill names 'left_elbow_pitch'"),
        (
            {"robot": {"name": "arm", "joints": [{"name": "base_x", "number": "hip_yaw"}]}},
            "'base_x' is part of",
        ),
        ({"robot": 6}, "robot: expected an object"),
    ],
)
def test_bad_mappings_are_refused(tmp_path: Path, content: dict[str, object], message: str) -> None:
    (tmp_path / "mapping.json").write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match=rf"mapping\.json: .*{message}"):
        StateMapping.read(tmp_path / "mapping.json")


def write_clips(directory: Path, robot: Robot, clips: int, **options: Any) -> np.ndarray:
    """Writes a data set of one segment, and returns its states [17 * clips, 25], which are within ARM's limits."""
    rng = np.random.default_rng(0)
    states = np.cumsum(rng.uniform(-0.004, 0.004, (17 * clips, 25)), axis=0, dtype=np.float32) + np.float32(0.5)
    writer = DatasetWriter(directory, robot=robot, **options)
    tokens = rng.integers(64, size=(clips, 3, 8, 8), dtype=np.int32) if "token_grid" in options else None
    writer.write_shard(0, states=states, segments=np.zeros(17 * clips, np.int32), tokens=tokens)
    writer.finish()
    return states


def data_of(robot: Robot, directory: Path) -> Dataset:
    write_clips(directory, robot, clips=1)
    return Dataset(directory)


def test_data_sets_tell_their_robot(tmp_path: Path) -> None:
    assert data_of(ARM, tmp_path / "arm").metadata.robot == ARM
    assert data_of(EVE, tmp_path / "eve").metadata.robot == EVE
    assert "robot" not in json.loads((tmp_path / "eve/metadata.json").read_text())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (EVE, "robot: expected SO-101, got EVE"),
        (replace(ARM, joints=ARM.joints[:5]), "robot.joints: expected 6 joints, got 5"),
        (
            replace(ARM, joints=(*ARM.joints[:5], Joint(name="roll", number="left_wrist_roll"))),
            r"robot.joints\[5\]: expected wrist_roll.pos \(left_wrist_roll\), got roll \(left_wrist_roll\)",
        ),
        (
            replace(ARM, joints=(replace(ARM.joints[0], high=100.0), *ARM.joints[1:])),
            r"robot.joints\[0\]: .*from 0 to 1\), got .*from 0 to 100\)",
        ),
    ],
)
def test_data_of_another_robot_are_refused_with_file_and_field(tmp_path: Path, other: Robot, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"other/metadata\.json: {message}"):
        check_robot(ARM, data_of(other, tmp_path / "other"))
    check_robot(other, data_of(other, tmp_path / "same"))


def test_a_damaged_robot_in_the_metadata_is_named(tmp_path: Path) -> None:
    data_of(ARM, tmp_path / "arm")
    path = tmp_path / "arm/metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "robot": {"name": "arm", "joints": 3}}))
    with pytest.raises(DatasetError, match=r"metadata\.json: robot: joints must be a list"):
        Dataset(tmp_path / "arm")
