"""The times of a table's rows: units, types, and errors for tables that fit in no unit."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data import tables
from hwm_env.data.state_tables import StateMapping, States, read_states
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.types import ACTION_NAMES

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NECK = ACTION_NAMES.index("neck_pitch")
FRAMES = np.arange(85) / 30
UNEVEN = np.concatenate([np.linspace(0, 0.3, 42), np.linspace(0.35, 84 / 30, 43)])
"""Times of 85 rows beside a video of 85 frames; read as one row for each frame, all would be wrong."""
START_NS = 1_700_000_000_000_000_000


def read(path: Path, mapping: StateMapping | None = None, frames: np.ndarray = FRAMES) -> States:
    return read_states(path, mapping or StateMapping(), frames, len(frames))


def write(path: Path, columns: dict[str, object]) -> Path:
    """Writes a table in the format of the suffix; values that are not strings are written as Python prints them."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(columns), str(path))
    else:
        lists = [_in_python(column) for column in columns.values()]
        rows = [",".join(f'"{cell}"' for cell in row) for row in zip(*lists, strict=True)]
        path.write_text("\n".join([",".join(columns), *rows]))
    return path


def _in_python(column: object) -> list[object]:
    """Returns the cells of a column as Python objects, which have no nanoseconds."""
    if not isinstance(column, pa.Array):
        return list(column)  # type: ignore[call-overload]
    for has, to in ((pa.types.is_timestamp, pa.timestamp("us")), (pa.types.is_duration, pa.duration("us"))):
        if has(column.type):
            column = column.cast(to, safe=False)
    return ["" if cell is None else cell for cell in column.to_pylist()]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize("start", [0, 1_700_000_000])
@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_the_unit_of_times_is_that_which_fits_the_video(
    tmp_path: Path, suffix: str, start: int, unit: str, per_second: int
) -> None:
    """The neck's angle is the time in seconds."""
    times = start * per_second + UNEVEN * per_second
    if suffix == ".npy":
        array = np.zeros(len(UNEVEN), [("time", "f8"), ("neck_pitch", "f8")])
        array["time"], array["neck_pitch"] = times, UNEVEN
        np.save(tmp_path / "a.npy", array)
    else:
        write(tmp_path / f"a{suffix}", {"time": times, "neck_pitch": UNEVEN})
    states = read(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(states.values[:, NECK], FRAMES, atol=1e-5)
    assert states.notes.get("time_unit", "s") == unit


NANOSECONDS = START_NS + np.round(UNEVEN * 1e9).astype(np.int64)
TYPED = {
    "timestamp[s] of decimals": pa.array([Decimal(f"{time:.6f}") for time in UNEVEN], pa.decimal128(12, 6)),
    "timestamp[ms]": pa.array(NANOSECONDS // 10**6, pa.timestamp("ms")),
    "timestamp[ns, UTC]": pa.array(NANOSECONDS, pa.timestamp("ns", "UTC")),
    "timestamp[us, zone]": pa.array(NANOSECONDS // 1000, pa.timestamp("us", "Europe/Oslo")),
    "duration[us]": pa.array(np.round(UNEVEN * 1e6).astype(np.int64), pa.duration("us")),
    "duration[ns]": pa.array(np.round(UNEVEN * 1e9).astype(np.int64), pa.duration("ns")),
    "time32[ms]": pa.array(1000 + np.round(UNEVEN * 1e3).astype(np.int32), pa.time32("ms")),
    "time64[us]": pa.array(10**6 + np.round(UNEVEN * 1e6).astype(np.int64), pa.time64("us")),
    "uint64 ns": pa.array(NANOSECONDS.astype(np.uint64)),
    "float32 s": pa.array(UNEVEN.astype(np.float32)),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", TYPED)
def test_times_of_every_type_are_read_from_both_formats(tmp_path: Path, suffix: str, kind: str) -> None:
    path = write(tmp_path / f"a{suffix}", {"time": TYPED[kind], "neck_pitch": UNEVEN})
    np.testing.assert_allclose(read(path).values[:, NECK], FRAMES, atol=2e-3)


def test_dates_with_times_are_read_from_numpy_files(tmp_path: Path) -> None:
    array = np.zeros(len(UNEVEN), [("time", "M8[ns]"), ("neck_pitch", "f8")])
    array["time"], array["neck_pitch"] = NANOSECONDS.astype("M8[ns]"), UNEVEN
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_allclose(read(tmp_path / "a.npy").values[:, NECK], FRAMES, atol=1e-6)


def test_a_typed_time_is_not_read_in_another_unit(tmp_path: Path) -> None:
    milliseconds = pa.array(np.round(UNEVEN * 1e6).astype(np.int64), pa.duration("ms"))
    path = write(tmp_path / "a.parquet", {"time": milliseconds, "neck_pitch": UNEVEN})
    with pytest.raises(DatasetError, match=r"got 85 rows up to 2800\.000 s by 'time'; multiplied by 0\.001 the times"):
        read(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (
            10,
            r"for a video of 2\.800 s, got 85 rows up to 28\.000 s by 'time', read in s; multiplied by 0\.1 the times",
        ),
        (0.1, r"up to 2\.800 s, the end of the video, got 85 rows up to 0\.280 s.*multiplied by 10 the times"),
        (2, r"got 85 rows up to 5\.600 s.*multiplied by 0\.5 the times would fit"),
        (10_000, r"got 85 rows up to 28\.000 s by 'time', read in ms; multiplied by 0\.1"),
    ],
)
def test_tables_that_fit_in_no_unit_are_refused(tmp_path: Path, suffix: str, factor: float, message: str) -> None:
    path = write(tmp_path / f"a{suffix}", {"time": UNEVEN * factor, "neck_pitch": UNEVEN})
    with pytest.raises(DatasetError, match=rf"a\{suffix}: expected states .*{message}"):
        read(path)


def test_a_long_log_beside_a_short_video_is_not_taken_for_milliseconds(tmp_path: Path) -> None:
    """1,700 s at 30 Hz beside 1.7 s would be 30,000 rows a second."""
    times = np.arange(51_000) / 30
    path = tmp_path / "a.npy"
    array = np.zeros(len(times), [("time", "f8"), ("neck_pitch", "f8")])
    array["time"] = times
    np.save(path, array)
    with pytest.raises(DatasetError, match=r"up to 1699\.967 s by 'time', read in s"):
        read(path, frames=np.arange(51) / 30)


@pytest.mark.parametrize(("rows", "hz", "fitting"), [(281, 10, 100), (281, 1000, 100), (141, 100, 50)])
def test_a_wrong_rate_is_refused_with_the_right_one(tmp_path: Path, rows: int, hz: float, fitting: float) -> None:
    path = write(tmp_path / "a.csv", {"neck_pitch": np.zeros(rows)})
    with pytest.raises(DatasetError, match=rf"got {rows} rows .* at {hz} Hz; hz {fitting} would fit"):
        read(path, StateMapping(hz=hz))
    read(path, StateMapping(hz=fitting))


@pytest.mark.parametrize(("rows", "rate"), [(281, "100"), (29, "10")])
def test_without_times_a_rate_that_fits_is_named(tmp_path: Path, rows: int, rate: str) -> None:
    path = write(tmp_path / "a.csv", {"neck_pitch": np.zeros(rows)})
    with pytest.raises(DatasetError, match=rf"got {rows} rows.*{rate} would fit"):
        read(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("row", "time", "message"),
    [(40, UNEVEN[39], "remove what is there twice"), (40, 0.0, "split table and video there, or sort the rows")],
)
def test_times_that_do_not_ascend_are_refused(tmp_path: Path, suffix: str, row: int, time: float, message: str) -> None:
    times = UNEVEN.copy()
    times[row] = time
    path = write(tmp_path / f"a{suffix}", {"time": times, "neck_pitch": UNEVEN})
    with pytest.raises(
        DatasetError, match=rf"a\{suffix}: times in 'time' must ascend, got .* in row {row} .*{message}"
    ):
        read(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_time_that_is_missing_is_named(tmp_path: Path, suffix: str) -> None:
    times: list[object] = NANOSECONDS.tolist()
    times[7] = None
    columns = {"time": pa.array(times, pa.timestamp("ns")), "neck_pitch": UNEVEN}
    with pytest.raises(DatasetError, match="row 7, column 'time' is nan"):
        read(write(tmp_path / f"a{suffix}", columns))


def test_what_is_interpolated_held_or_unused_is_counted(tmp_path: Path) -> None:
    times = np.concatenate([np.arange(0, 31) / 30, np.arange(60, 84) / 30])
    path = write(tmp_path / "a.csv", {"time": times, "neck_pitch": times})
    states = read(path)
    # Frames 31 to 59 are in the gap, frame 84 is after the last row.
    assert states.notes == {"interpolated_states": 29, "held_states": 1}
    np.testing.assert_allclose(states.values[:84, NECK], FRAMES[:84], atol=1e-5)
    longer = np.arange(120) / 30
    notes = read(write(tmp_path / "b.csv", {"time": longer, "neck_pitch": longer})).notes
    assert notes == {"unused_s": pytest.approx(119 / 30 - 84 / 30, abs=1e-3)}
    regular = np.arange(29) / 10
    assert read(write(tmp_path / "c.csv", {"time": regular, "neck_pitch": regular})).notes == {}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_lists_are_columns(tmp_path: Path, suffix: str) -> None:
    """LeRobot writes them so."""
    lists = [[float(index), index / 100, 0.5] for index in range(85)]
    columns = {"timestamp": pa.array(FRAMES), "observation.state": pa.array(lists, pa.list_(pa.float64()))}
    path = write(tmp_path / f"a{suffix}", columns)
    mapping = StateMapping(columns={"neck_pitch": "observation.state[1]"}, time="timestamp")
    np.testing.assert_allclose(read(path, mapping).values[:, NECK], np.arange(85) / 100, atol=1e-6)
    for name in ("observation.state", "observation.state[3]", "timestamp[0]"):
        with pytest.raises(DatasetError, match=r"expected the name of one number.*observation\.state\[0\] \.\.\. "):
            read(path, StateMapping(columns={"neck_pitch": name}, time="timestamp"))
    with pytest.raises(InvalidInputError, match=r"none of its columns \(timestamp, observation\.state\[0\] \.\.\. "):
        read(path, StateMapping(time="timestamp"))


def test_lists_of_fixed_size_and_in_numpy_files_are_columns(tmp_path: Path) -> None:
    values = np.arange(170.0).reshape(85, 2) / 100
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), 2)
    write(tmp_path / "a.parquet", {"state": fixed})
    array = np.zeros(85, [("state", "f4", 2)])
    array["state"] = values
    np.save(tmp_path / "a.npy", array)
    for suffix in (".parquet", ".npy"):
        states = read(tmp_path / f"a{suffix}", StateMapping(columns={"neck_pitch": "state[1]"}))
        np.testing.assert_allclose(states.values[:, NECK], values[:, 1], atol=1e-6)


def test_lists_that_differ_in_length_and_pictures_are_no_numbers(tmp_path: Path) -> None:
    columns = {
        "neck_pitch": UNEVEN,
        "ragged": pa.array([[0.0] * (index % 3) for index in range(85)]),
        "image": pa.array([{"bytes": b"x", "path": "a.png"}] * 85),
    }
    path = write(tmp_path / "a.parquet", columns)
    np.testing.assert_allclose(read(path).values[:, NECK], UNEVEN, atol=1e-6)
    for name in ("ragged", "image"):
        with pytest.raises(DatasetError, match=f"row 0, column '{name}' is nan"):
            read(path, StateMapping(columns={"neck_pitch": name}))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_decimals_booleans_and_numbers_as_text_are_numbers(tmp_path: Path, suffix: str) -> None:
    columns = {
        "neck_pitch": pa.array([Decimal("0.25")] * 85),
        "left_hand_closure": pa.array([True, False] * 42 + [True]),
        "linear_velocity": pa.array(["1.5"] * 85),
        "angular_velocity": pa.array(["-0.5"] * 85).dictionary_encode(),
    }
    values = read(write(tmp_path / f"a{suffix}", columns)).values
    np.testing.assert_array_equal(values[:2, [NECK, 21, 23, 24]], [[0.25, 1, 1.5, -0.5], [0.25, 0, 1.5, -0.5]])


def test_degrees_are_refused_and_read_where_the_mapping_says_so(tmp_path: Path) -> None:
    degrees = np.linspace(0, 90, 85)
    columns = {"neck_pitch": degrees, "angular_velocity": degrees, "left_hand_closure": np.ones(85)}
    pose = {"base_x": np.ones(85), "base_y": np.ones(85), "base_yaw": degrees}
    path = write(tmp_path / "a.csv", {**columns, **pose})
    with pytest.raises(
        DatasetError, match=r"row 84, column 'neck_pitch': expected neck_pitch in rad, got 90; say in a"
    ):
        read(path)
    states = read(path, StateMapping(angle_unit="deg"))
    assert states.poses is not None
    for values in (states.values[:, NECK], states.values[:, 24], states.poses[:, 2]):
        np.testing.assert_allclose(values, np.linspace(0, np.pi / 2, 85), atol=1e-5)
    assert (states.values[:, 21] == 1).all()
    assert (states.poses[:, :2] == 1).all()
    np.testing.assert_allclose(read(path, StateMapping(angle_unit="rad")).values[:, NECK], degrees, atol=1e-4)
    with pytest.raises(InvalidInputError, match='angle_unit must be "rad" or "deg"'):
        StateMapping(angle_unit="degrees")  # type: ignore[arg-type]


@pytest.mark.parametrize("separator", [" ,", " , ", ";", "\t", ","])
def test_separators_may_have_spaces_around_them(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "a.csv"
    rows = [separator.join((f"{time:.6f}", f"{time:.6f}", "7")) for time in UNEVEN]
    path.write_text("\n".join([separator.join(("time", "neck_pitch", "note")), *rows]))
    np.testing.assert_allclose(read(path).values[:, NECK], FRAMES, atol=1e-5)


def test_columns_that_are_there_twice_are_refused_where_they_are_needed(tmp_path: Path) -> None:
    rows = "".join(f"{time:.6f},{time:.6f},1,2,{time:.6f}\n" for time in UNEVEN)
    path = tmp_path / "a.csv"
    path.write_text("time,neck_pitch,note,note,x\n" + rows)
    np.testing.assert_allclose(read(path).values[:, NECK], FRAMES, atol=1e-5)
    path.write_text("time,neck_pitch,note,x,neck_pitch\n" + rows)
    with pytest.raises(DatasetError, match=r"a\.csv: expected one column 'neck_pitch', got several"):
        read(path)
    table = pa.Table.from_arrays([pa.array(UNEVEN)] * 2, names=["neck_pitch", "neck_pitch"])
    parquet.write_table(table, str(tmp_path / "a.parquet"))
    with pytest.raises(DatasetError, match=r"a\.parquet: expected one column 'neck_pitch', got several"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["Neck_Pitch", "neck pitch", "NECK-PITCH", "Time"])
def test_nearly_right_names_are_not_filled_in_silence(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.csv", {"hip_yaw": UNEVEN, name: UNEVEN})
    with pytest.raises(InvalidInputError, match=rf"a\.csv: column '{name}' is nearly "):
        read(path)


@pytest.mark.parametrize("shape", [b"(900000000000, 2)", b"(9, ((", b"(2.5, 2)"])
def test_numpy_files_that_promise_more_than_they_hold_are_refused(tmp_path: Path, shape: bytes) -> None:
    np.save(tmp_path / "a.npy", np.zeros((85, 25)))
    content = (tmp_path / "a.npy").read_bytes()
    header = content.replace(b"(85, 25), }" + b" " * len(shape), shape + b", }" + b" " * 8)
    assert len(header) == len(content)
    (tmp_path / "a.npy").write_bytes(header)
    with pytest.raises(DatasetError, match=r"a\.npy cannot be read as a table of numbers"):
        read(tmp_path / "a.npy")


def test_small_files_of_many_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million equal numbers take 1 kB in a file and 8 MB in memory; larger files could exhaust it."""
    monkeypatch.setattr(tables, "_MAX_VALUES", 10**6 - 1)
    path = write(tmp_path / "a.parquet", {"neck_pitch": pa.array(np.zeros(10**6, np.int8))})
    assert path.stat().st_size < 10_000
    with pytest.raises(DatasetError, match=r"a\.parquet .*expected at most 999999 values, got 1000000"):
        read(path)
