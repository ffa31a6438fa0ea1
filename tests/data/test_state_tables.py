"""Tables of states: three formats, columns by name, and values at the times of the frames."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.state_tables import StateMapping, read_states
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.types import ACTION_NAMES

FRAMES_30 = np.arange(31) / 30
AS_IT_IS = StateMapping()


def write_csv(path: Path, columns: dict[str, np.ndarray | list[str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_parquet(path: Path, columns: dict[str, object]) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table(columns), str(path))
    return path


def all_25(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    values = np.random.default_rng(seed).normal(size=(rows, 25)).astype(np.float32)
    return dict(zip(ACTION_NAMES, values.T.astype(np.float64), strict=True))


def test_the_formats_agree_and_a_row_is_a_frame(tmp_path: Path) -> None:
    columns = all_25(31)
    array = np.column_stack(list(columns.values()))
    np.save(tmp_path / "a.npy", array)
    shuffled = dict(sorted({**columns, "battery": np.ones(31)}.items()))
    paths = [
        tmp_path / "a.npy",
        write_csv(tmp_path / "a.csv", shuffled),
        write_parquet(tmp_path / "a.parquet", shuffled),
    ]
    for path in paths:
        states = read_states(path, AS_IT_IS, FRAMES_30, 31)
        assert states.values.dtype == np.float32
        assert states.filled == {}
        np.testing.assert_array_equal(states.values, array.astype(np.float32))


@pytest.mark.parametrize("mapping", [StateMapping(time="stamp"), StateMapping(hz=50), StateMapping()])
def test_states_are_interpolated_at_the_moments_of_the_frames(tmp_path: Path, mapping: StateMapping) -> None:
    """A straight line stays one: at time k / 30 s its value is slope * k / 30, at every rate of the rows."""
    times = np.arange(61) / 50
    slopes = np.linspace(-3, 3, 25)
    columns = {name: 1 + slope * times for name, slope in zip(ACTION_NAMES, slopes, strict=True)}
    # Clocks of robots start at any time.
    stamps = {"stamp": 1_000 + times} if mapping.time else {} if mapping.hz else {"time": times}
    path = write_csv(tmp_path / "a.csv", {**stamps, **columns})
    states = read_states(path, mapping, FRAMES_30, 31)
    np.testing.assert_allclose(states.values, 1 + np.outer(np.arange(31) / 30, slopes), atol=1e-5)


def test_uneven_rows_are_interpolated_between_their_neighbours(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", {"time": [0, 0.05, 0.1], "hip_yaw": [0, 1, 5]})
    values = read_states(path, AS_IT_IS, FRAMES_30, 4).values[:, 0]
    np.testing.assert_allclose(values, [0, 2 / 3, 1 + 4 / 3, 5], atol=1e-6)


def test_rows_of_uneven_frames_have_their_times(tmp_path: Path) -> None:
    """Without times, row i belongs to frame i, at the time when that is shown."""
    video_times = np.array([0, 0.1, 0.2])
    path = write_csv(tmp_path / "a.csv", {"hip_yaw": [0, 3, 3]})
    values = read_states(path, AS_IT_IS, video_times, 7).values[:, 0]
    np.testing.assert_allclose(values, [0, 1, 2, 3, 3, 3, 3], atol=1e-6)


def test_columns_are_mapped_and_what_is_missing_is_filled(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", {"joint_0": np.full(31, 7.0), "knee_pitch": np.full(31, 8.0)})
    mapping = StateMapping(columns={"hip_yaw": "joint_0"}, fill={"left_hand_closure": 0.5})
    states = read_states(path, mapping, FRAMES_30, 31)
    expected = np.zeros(25)
    expected[ACTION_NAMES.index("hip_yaw")] = 7
    expected[ACTION_NAMES.index("knee_pitch")] = 8
    expected[ACTION_NAMES.index("left_hand_closure")] = 0.5
    np.testing.assert_array_equal(states.values, np.tile(expected, (31, 1)))
    given = {"hip_yaw", "knee_pitch"}
    assert states.filled == {n: 0.5 if n == "left_hand_closure" else 0.0 for n in ACTION_NAMES if n not in given}


def test_columns_of_an_array_are_mapped_by_number(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.column_stack([np.full(31, 3.0), np.full(31, 4.0)]))
    states = read_states(tmp_path / "a.npy", StateMapping(columns={"neck_pitch": 1, "hip_yaw": 0}), FRAMES_30, 31)
    assert states.values[0, ACTION_NAMES.index("neck_pitch")] == 4
    assert states.values[0, ACTION_NAMES.index("hip_yaw")] == 3
    assert len(states.filled) == 23


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_broken_numbers_are_named_by_file_row_and_column(tmp_path: Path, suffix: str, bad: float) -> None:
    columns = all_25(31)
    columns["knee_pitch"][17] = bad
    path = tmp_path / f"walk{suffix}"
    match suffix:
        case ".csv":
            write_csv(path, columns)
        case ".parquet":
            write_parquet(path, columns)
        case ".npy":
            np.save(path, np.column_stack(list(columns.values())))
    column = "'3'" if suffix == ".npy" else "'knee_pitch'"
    with pytest.raises(DatasetError, match=rf"walk\{suffix}: row 17, column {column} is {bad}"):
        read_states(path, AS_IT_IS, FRAMES_30, 31)


def test_an_empty_cell_is_a_broken_number_only_where_it_is_needed(tmp_path: Path) -> None:
    columns = {"hip_yaw": ["1"] * 31, "note": [""] * 31}
    assert read_states(write_csv(tmp_path / "a.csv", columns), AS_IT_IS, FRAMES_30, 31).values[3, 0] == 1
    columns["hip_yaw"][4] = ""
    with pytest.raises(DatasetError, match=r"a\.csv: row 4, column 'hip_yaw'"):
        read_states(write_csv(tmp_path / "a.csv", columns), AS_IT_IS, FRAMES_30, 31)


@pytest.mark.parametrize("mapping", [StateMapping(), StateMapping(hz=30)])
def test_states_may_end_a_frame_before_the_video_and_no_earlier(tmp_path: Path, mapping: StateMapping) -> None:
    path = write_csv(tmp_path / "a.csv", {"hip_yaw": np.arange(30) / 10})
    values = read_states(path, mapping, FRAMES_30, 31).values[:, 0]
    np.testing.assert_allclose(values, np.array([*range(30), 29]) / 10, atol=1e-5)
    path = write_csv(tmp_path / "a.csv", {"hip_yaw": np.arange(29) / 10})
    with pytest.raises(DatasetError, match=r"a\.csv: expected states up to 1\.000 s.*got 29 rows"):
        read_states(path, mapping, FRAMES_30, 31)


def test_more_rows_than_frames_need_a_time(tmp_path: Path) -> None:
    """A log at 100 Hz without times is not read at the video's rate."""
    path = write_csv(tmp_path / "a.csv", {"hip_yaw": np.arange(100.0)})
    with pytest.raises(DatasetError, match=r"a\.csv: .*100 rows"):
        read_states(path, AS_IT_IS, FRAMES_30, 31)


@pytest.mark.parametrize("times", [[0.0, 0.1, 0.1, 2.0], [0.0, 0.2, 0.1, 2.0]])
def test_times_must_ascend(tmp_path: Path, times: list[float]) -> None:
    path = write_csv(tmp_path / "a.csv", {"time": times, "hip_yaw": [0, 1, 2, 3]})
    with pytest.raises(DatasetError, match=r"a\.csv: times in 'time' must ascend, got 0\.1 in row 2"):
        read_states(path, AS_IT_IS, FRAMES_30, 31)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (StateMapping(columns={"hip_yaw": "joint_9"}), "hip_yaw from column 'joint_9', which is not there.*joint_0"),
        (StateMapping(time="stamp", columns={"hip_yaw": "joint_0"}), "time column 'stamp' is not there"),
        (StateMapping(), "none of its columns"),
    ],
)
def test_unknown_columns_are_named(tmp_path: Path, mapping: StateMapping, message: str) -> None:
    path = write_csv(tmp_path / "walk.csv", {"joint_0": np.zeros(31)})
    with pytest.raises((DatasetError, InvalidInputError), match=f"walk.csv.*{message}"):
        read_states(path, mapping, FRAMES_30, 31)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", b""), ("a.csv", b"hip_yaw\n"), ("a.csv", b"hip_yaw,b\n1\n"), ("a.npy", b"no"), ("a.parquet", b"no")],
)
def test_unreadable_tables_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DatasetError, InvalidInputError), match=name):
        read_states(tmp_path / name, AS_IT_IS, FRAMES_30, 31)


def test_mappings_are_read_and_written(tmp_path: Path) -> None:
    content = {"columns": {"hip_yaw": "joint_0"}, "time": "stamp", "hz": None, "fill": {"neck_pitch": 0.1}}
    (tmp_path / "mapping.json").write_text(json.dumps(content))
    mapping = StateMapping.read(tmp_path / "mapping.json")
    assert mapping == StateMapping(columns={"hip_yaw": "joint_0"}, time="stamp", fill={"neck_pitch": 0.1})
    assert mapping.to_json() == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"columns": {"hip": "a"}}, "columns names 'hip'"),
        ({"fill": {"hip": 0}}, "fill names 'hip'"),
        ({"fill": {"hip_yaw": "much"}}, "fill must be finite numbers, got 'much'"),
        ({"hz": 0}, "hz must be a number of rows a second above 0"),
        ({"hz": "50"}, "hz must be a number of rows a second above 0, got '50'"),
        ({"colums": {}}, "unknown colums"),
        ({"columns": ["a"]}, "columns must be an object"),
    ],
)
def test_bad_mappings_are_refused(tmp_path: Path, content: dict[str, object], message: str) -> None:
    (tmp_path / "mapping.json").write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match=message):
        StateMapping.read(tmp_path / "mapping.json")


def test_poses_are_read_and_headings_take_the_short_way_round(tmp_path: Path) -> None:
    """From 3.1 to -3.1 rad is a turn of 0.08 rad through pi, not of 6.2 rad through 0."""
    columns = {"hip_yaw": np.zeros(2), "x_m": [1.0, 2.0], "base_y": [-1.0, -1.0], "base_yaw": [3.1, -3.1]}
    path = write_csv(tmp_path / "a.csv", {"time": [0.0, 2 / 30], **columns})
    poses = read_states(path, StateMapping(columns={"base_x": "x_m"}), FRAMES_30[:3], 3).poses
    assert poses is not None
    assert poses.dtype == np.float32
    np.testing.assert_allclose(poses[:, :2], [[1, -1], [1.5, -1], [2, -1]], atol=1e-6)
    np.testing.assert_allclose(np.cos(poses[:, 2]), np.cos([3.1, np.pi, 3.1]), atol=1e-6)
    np.testing.assert_allclose(np.sin(poses[:, 2]), np.sin([3.1, np.pi, -3.1]), atol=1e-6)


def test_a_table_without_a_pose_has_none_and_half_a_pose_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", {"hip_yaw": np.zeros(31)})
    assert read_states(path, AS_IT_IS, FRAMES_30, 31).poses is None
    half = write_csv(tmp_path / "half.csv", {"hip_yaw": np.zeros(31), "base_x": np.zeros(31), "base_y": np.zeros(31)})
    with pytest.raises(InvalidInputError, match="no column gives base_yaw"):
        read_states(half, AS_IT_IS, FRAMES_30, 31)
