"""Robot states beside videos: tables in CSV, Parquet or NumPy files, whose columns are mapped to the 25 numbers."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np

from hwm_env.data.files import read_json
from hwm_env.errors import DatasetError, InvalidInputError, require_extra
from hwm_env.types import ACTION_DIM, ACTION_NAMES, FRAME_RATE_HZ, Float32Array, Float64Array

TABLE_SUFFIXES: Final = (".csv", ".parquet", ".npy")
DEFAULT_TIME_COLUMN: Final = "time"
POSE_NAMES: Final = ("base_x", "base_y", "base_yaw")
"""The pose of the base in the frame of the room (m, m, rad), which a table may give besides."""

Table = Mapping[str, Float64Array]
"""Columns float64 [N] by name; those of an array without names are called "0", "1" and so on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StateMapping:
    """What the columns of a table mean. A column is named; in a .npy file without names it is a number."""

    columns: Mapping[str, str | int] = field(default_factory=dict)
    """Columns of our 25 numbers, and of base_x (m), base_y (m) and base_yaw (rad), by our names. What is not named here
    is looked for under its own name (in an array without names: the 25 numbers in their own place)."""
    time: str | int | None = None
    """Column of the times in seconds, of which the first belongs to the video's first frame; None: the column "time",
    if there is one."""
    hz: float | None = None
    """Rows a second where no column says the time; None: a row for each frame of the video."""
    fill: Mapping[str, float] = field(default_factory=dict)
    """Values of numbers that no column gives; all others are 0."""

    def __post_init__(self) -> None:
        """Raises InvalidInputError for names that are none of the 25, and for a rate that is none."""
        for given, names in (("columns", (*ACTION_NAMES, *POSE_NAMES)), ("fill", ACTION_NAMES)):
            unknown = sorted(set(getattr(self, given)) - set(names))
            if unknown:
                raise InvalidInputError(
                    f"mapping: {given} names {', '.join(map(repr, unknown))}; expected names from {', '.join(names)}"
                )
        is_number = isinstance(self.hz, int | float) and not isinstance(self.hz, bool)
        if self.hz is not None and not (is_number and 0 < self.hz < float("inf")):
            raise InvalidInputError(f"mapping: hz must be a number of rows a second above 0, got {self.hz!r}")
        for name, value in self.fill.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise InvalidInputError(f"mapping: fill must be finite numbers, got {value!r} for {name!r}")

    @classmethod
    def read(cls, path: Path) -> "StateMapping":
        """Reads a mapping from a JSON file with some of the fields.

        Raises:
            DatasetError: the file is missing or is not JSON.
            InvalidInputError: a field or a name is unknown, or a value of the wrong kind.
        """
        content = read_json(path)
        unknown = sorted(set(content) - {"columns", "time", "hz", "fill"})
        if unknown:
            raise InvalidInputError(f"{path}: unknown {', '.join(unknown)}; expected columns, time, hz, fill")
        for name in ("columns", "fill"):
            if not isinstance(content.get(name, {}), dict):
                raise InvalidInputError(f"{path}: {name} must be an object with names of ours, got {content[name]!r}")
        values: dict[str, Any] = content
        return cls(**values)

    def to_json(self) -> dict[str, object]:
        """The content of such a file."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """States at the frames of a video."""

    values: Float32Array
    """float32 [N, 25]."""
    filled: Mapping[str, float]
    """Numbers that no column gave, and what stands for them."""
    poses: Float32Array | None
    """x (m), y (m), yaw (rad) of the base in the room, float32 [N, 3]; `None` where no column gives them."""


def read_states(path: Path, mapping: StateMapping, video_times: Float64Array, num_frames: int) -> States:
    """States at the times k / 30 s, interpolated linearly between rows.

    Args:
        path: the table.
        mapping: what its columns mean.
        video_times: float64 [F], when the frames of the video are shown, in seconds after the first one.
        num_frames: N, how many states are wanted.

    Raises:
        DatasetError: the file cannot be read, lacks a column, has a number that is not finite, times that do not
            ascend, or ends before the video.
        InvalidInputError: no column has a name that is known.
        MissingExtraError: pyarrow is needed and not installed.
    """
    table = _read_table(path)
    if "0" in table and not mapping.columns and len(table) != ACTION_DIM:
        raise DatasetError(
            f"{path}: expected an array [rows, {ACTION_DIM}], got {len(table)} columns; name them in a mapping file"
        )
    columns = {name: _column_of(name, table, mapping, path) for name in ACTION_NAMES}
    given = {name: column for name, column in columns.items() if column is not None}
    if not given:
        raise InvalidInputError(
            f"{path}: none of its columns ({', '.join(table)}) is one of the 25 numbers; name them in a mapping file"
        )
    times = _row_times(path, table, mapping, video_times)
    wanted = np.arange(num_frames) / FRAME_RATE_HZ
    if len(times) == 0 or times[-1] < wanted[-1] - 1 / FRAME_RATE_HZ:
        raise DatasetError(
            f"{path}: expected states up to {wanted[-1]:.3f} s, the end of the video, got {len(times)} rows up to "
            f"{times[-1] if len(times) else 0:.3f} s; cut the video, or give the rows' rate as hz in a mapping file"
        )
    filled = {name: float(mapping.fill.get(name, 0.0)) for name in ACTION_NAMES if name not in given}
    values = np.empty((num_frames, ACTION_DIM), np.float32)
    for place, name in enumerate(ACTION_NAMES):
        if name in given:
            values[:, place] = np.interp(wanted, times, _finite(path, given[name], table[given[name]]))
        else:
            values[:, place] = filled[name]
    return States(values, filled, _poses(path, table, mapping, times, wanted))


def _poses(
    path: Path, table: Table, mapping: StateMapping, times: Float64Array, wanted: Float64Array
) -> Float32Array | None:
    """The pose of the base at the wanted times; headings are interpolated the short way round."""
    columns = {name: _column_of(name, table, mapping, path) for name in POSE_NAMES}
    given = {name: _finite(path, column, table[column]) for name, column in columns.items() if column is not None}
    if not given:
        return None
    if missing := [name for name in POSE_NAMES if name not in given]:
        raise InvalidInputError(
            f"{path}: a pose needs {', '.join(POSE_NAMES)}, but no column gives {', '.join(missing)}; name the columns "
            "in a mapping file, or leave the others out"
        )
    given["base_yaw"] = np.unwrap(given["base_yaw"])
    poses = np.column_stack([np.interp(wanted, times, given[name]) for name in POSE_NAMES])
    poses[:, 2] = (poses[:, 2] + np.pi) % (2 * np.pi) - np.pi
    return poses.astype(np.float32)


def _column_of(name: str, table: Table, mapping: StateMapping, path: Path) -> str | None:
    """The column that gives one of the 25 numbers or of the pose, if there is one."""
    if name in mapping.columns:
        column = str(mapping.columns[name])
        if column not in table:
            raise DatasetError(
                f"{path}: the mapping takes {name} from column {column!r}, which is not there; it has "
                f"{', '.join(table)}"
            )
        return column
    in_order = "0" in table and not mapping.columns and name in ACTION_NAMES
    own = str(ACTION_NAMES.index(name)) if in_order else name
    return own if own in table else None


def _row_times(path: Path, table: Table, mapping: StateMapping, video_times: Float64Array) -> Float64Array:
    """When each row was measured, in seconds after the first one."""
    num_rows = len(next(iter(table.values())))
    column = DEFAULT_TIME_COLUMN if mapping.time is None else str(mapping.time)
    if column in table:
        times = _finite(path, column, table[column])
        if not (np.diff(times) > 0).all():
            row = int(np.flatnonzero(np.diff(times) <= 0)[0]) + 1
            raise DatasetError(
                f"{path}: times in {column!r} must ascend, got {times[row]} in row {row} after {times[row - 1]}"
            )
        return times - times[:1]
    if mapping.time is not None:
        raise DatasetError(f"{path}: the mapping's time column {column!r} is not there; it has {', '.join(table)}")
    if mapping.hz is not None:
        return np.arange(num_rows) / mapping.hz
    if num_rows > len(video_times):
        raise DatasetError(
            f"{path}: expected a row for each of the video's {len(video_times)} frames, got {num_rows} rows; say when "
            'they were measured in a mapping file, by a column of "time" or by their rate "hz"'
        )
    return video_times[:num_rows]


def _finite(path: Path, column: str, values: Float64Array) -> Float64Array:
    broken = np.flatnonzero(~np.isfinite(values))
    if len(broken):
        raise DatasetError(
            f"{path}: row {broken[0]}, column {column!r} is {values[broken[0]]}, expected a finite number "
            f"({len(broken)} rows are broken); repair the file"
        )
    return values


def _read_table(path: Path) -> Table:
    try:
        match path.suffix:
            case ".csv":
                return _read_csv(path)
            case ".parquet":
                return _read_parquet(path)
            case ".npy":
                return _read_npy(path)
    except (ValueError, OSError, ArithmeticError, TokenError) as error:
        raise DatasetError(f"{path} cannot be read as a table of numbers: {error}") from error
    raise InvalidInputError(f"{path}: expected one of {', '.join(TABLE_SUFFIXES)}")


def _read_csv(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, skipinitialspace=True)
        header = next(rows, [])
        content = [row for row in rows if row]
    for number, row in enumerate(content):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    columns = zip(*content, strict=True) if content else [()] * len(header)
    return {name: _numbers(column) for name, column in zip(header, columns, strict=True)}


def _numbers(cells: tuple[str, ...]) -> Float64Array:
    """Cells as numbers; what is none (a comment, an empty cell) is NaN, and refused if it is asked for."""

    def number(cell: str) -> float:
        try:
            return float(cell)
        except ValueError:
            return float("nan")

    return np.array([number(cell) for cell in cells], dtype=np.float64)


def _read_parquet(path: Path) -> Table:
    parquet = require_extra("pyarrow.parquet", "data")
    frame = parquet.read_table(str(path))
    types = require_extra("pyarrow.types", "data")
    return {
        name: np.asarray(frame.column(name).to_numpy(), dtype=np.float64)
        for name, kind in zip(frame.schema.names, frame.schema.types, strict=True)
        if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    }


def _read_npy(path: Path) -> Table:
    # Mapped, so that a header that promises more than the file holds takes no memory.
    with np.errstate(over="raise"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("expected one array, got an archive of several")
    kinds = [array.dtype[name].kind for name in array.dtype.names] if array.dtype.names else [array.dtype.kind]
    if not set(kinds) <= set("iufb"):
        raise ValueError(f"expected real numbers, got {array.dtype}")
    if array.dtype.names:
        return {name: array[name].astype(np.float64) for name in array.dtype.names}
    if array.ndim != 2:
        raise ValueError(f"expected an array [rows, columns], got shape {array.shape}")
    return {str(index): column.astype(np.float64) for index, column in enumerate(array.T)}
