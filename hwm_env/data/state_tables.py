"""Reads robot states from the tables beside videos; maps their columns to the 25 action numbers."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from hwm_env.data.files import read_json
from hwm_env.data.row_times import DEFAULT_TIME_COLUMN, RowTimes, row_times
from hwm_env.data.tables import Table, read_table
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.robot import EVE, Robot
from hwm_env.types import (
    ACTION_DIM,
    ACTION_NAMES,
    ANGULAR_VELOCITY,
    FRAME_RATE_HZ,
    NUM_JOINTS,
    Float32Array,
    Float64Array,
)

POSE_NAMES: Final = ("base_x", "base_y", "base_yaw")
"""Columns of the base pose in the frame of the room (m, m, rad), which a table may contain."""
_JOINTS: Final = ACTION_NAMES[:NUM_JOINTS]
_ANGLES: Final = (*_JOINTS, ACTION_NAMES[ANGULAR_VELOCITY], "base_yaw")
_WIDEST_RAD: Final = 4 * np.pi
"""No joint turns further; larger numbers must be degrees."""
_GAP_S: Final = 0.15
"""States interpolated across a longer gap between two rows are counted."""
_UNUSED_S: Final = 0.5
"""A table that ends later than its video by more than this is noted."""
_OVERSHOOT: Final = 0.01
"""Share of a joint's range by which measurements may exceed its limits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StateMapping:
    """The meaning of the columns of a table.

    Columns are given by name; in a .npy file without names, by number. One number of a column of lists is written like
    "observation.state[3]".
    """

    columns: Mapping[str, str | int] = field(default_factory=dict)
    """Columns of the robot's joints (without `robot`: of the 25 action numbers), and of base_x (m), base_y (m) and
    base_yaw (rad), by these names. A name that is missing here is looked up as a column of the table (in an array
    without names, the joints by their index)."""
    robot: Robot | None = None
    """The robot, if its joints are not the 25 numbers. Each of its joints needs a column."""
    time: str | int | None = None
    """Column of the times, of which the first belongs to the video's first frame: dates with times, durations, or
    numbers of seconds, milliseconds, microseconds or nanoseconds; `None` means the column "time", if it exists."""
    hz: float | None = None
    """Rows a second if no column contains the times; `None` means one row for each frame of the video."""
    fill: Mapping[str, float] = field(default_factory=dict)
    """Values of action numbers without a column, or of those that carry no joint of `robot`; 0 for all others."""
    angle_unit: Literal["rad", "deg"] | None = None
    """Unit of joint angles, angular velocity and base_yaw in the table; `None` means radians, and numbers that can only
    be degrees raise an error (not with `robot`, whose joints may have any unit)."""

    def __post_init__(self) -> None:
        """Raises `InvalidInputError` for unknown names and invalid values."""
        if clashing := set(self.joints.names) & set(POSE_NAMES):
            raise InvalidInputError(f"mapping: {clashing.pop()!r} is part of the base's pose; rename the robot's joint")
        fillable = ACTION_NAMES if self.robot is None else self.robot.unused
        for given, names in (("columns", (*self.joints.names, *POSE_NAMES)), ("fill", fillable)):
            unknown = sorted(set(getattr(self, given)) - set(names))
            if unknown:
                raise InvalidInputError(
                    f"mapping: {given} names {', '.join(map(repr, unknown))}; expected names from {', '.join(names)}"
                )
        is_number = isinstance(self.hz, int | float) and not isinstance(self.hz, bool)
        if self.hz is not None and not (is_number and 0 < self.hz < float("inf")):
            raise InvalidInputError(f"mapping: hz must be a number of rows a second above 0, got {self.hz!r}")
        if self.angle_unit not in (None, "rad", "deg"):
            raise InvalidInputError(f'mapping: angle_unit must be "rad" or "deg", got {self.angle_unit!r}')
        for name, value in self.fill.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise InvalidInputError(f"mapping: fill must be finite numbers, got {value!r} for {name!r}")

    @property
    def joints(self) -> Robot:
        """The robot, or EVE if none is given."""
        return self.robot or EVE

    @classmethod
    def read(cls, path: Path) -> "StateMapping":
        """Reads a mapping from a JSON file with some of the fields.

        Raises:
            DatasetError: the file is missing or is not JSON.
            InvalidInputError: a field or a name is unknown, or a value is invalid.
        """
        content = read_json(path)
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise InvalidInputError(f"{path}: unknown {', '.join(unknown)}; expected {', '.join(known)}")
        for name in ("columns", "fill"):
            if not isinstance(content.get(name, {}), dict):
                raise InvalidInputError(
                    f"{path}: {name} must be an object whose keys are action names, got {content[name]!r}"
                )
        values: dict[str, Any] = dict(content)
        try:
            if values.get("robot") is not None:
                values["robot"] = Robot.read(values["robot"])
            return cls(**values)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}") from error

    def to_json(self) -> dict[str, object]:
        """Returns the content of a mapping file."""
        content = asdict(self) | {"robot": self.robot and self.robot.to_json()}
        return {name: value for name, value in content.items() if name not in _OPTIONAL or value is not None}


_OPTIONAL: Final = ("angle_unit", "robot")
"""Fields that a file has only if they are given."""


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """States at the frames of a video."""

    values: Float32Array
    """float32 [N, 25]."""
    filled: Mapping[str, float]
    """Action numbers without a column, and the values used for them."""
    poses: Float32Array | None
    """x (m), y (m), yaw (rad) of the base in the room, float32 [N, 3]; `None` without such columns."""
    notes: Mapping[str, float | str]
    """Deviations from plain reading, if any: "time_unit" (if not the second), "interpolated_states" (states across gaps
    of more than 0.15 s), "held_states" (states after the last row) and "unused_s" (seconds of rows after the video)."""


def read_states(
    path: Path, mapping: StateMapping, video_times: Float64Array, num_frames: int, duration_s: float | None = None
) -> States:
    """Reads a table, and returns the states in it; see `states_in`.

    Raises:
        DatasetError: also if the file cannot be read.
        MissingExtraError: pyarrow is needed and not installed.
    """
    return states_in(read_table(path), mapping, video_times, num_frames, duration_s)


def states_in(
    table: Table, mapping: StateMapping, video_times: Float64Array, num_frames: int, duration_s: float | None = None
) -> States:
    """Returns the states at the times k / 30 s, interpolated linearly between the rows of a table.

    Args:
        table: the table.
        mapping: the meaning of its columns.
        video_times: float64 [F], when the frames of the video are shown, in seconds after the first one.
        num_frames: N, the number of states.
        duration_s: duration of the video by its own header; `None` means until its last frame.

    Raises:
        DatasetError: the table lacks a column, contains a number that is not finite or an impossible joint angle, its
            times do not ascend, or it is much longer or shorter than the video.
        InvalidInputError: no column has a known name, or one has nearly such a name.
    """
    path, joints = table.path, mapping.joints
    if "0" in table.columns and not mapping.columns and len(table.columns) != len(joints.names):
        raise DatasetError(
            f"{path}: expected an array [rows, {len(joints.names)}], got {len(table.columns)} columns; name them in a "
            "mapping file"
        )
    given = {name: column for name in joints.names if (column := _column_of(name, table, mapping)) is not None}
    _check_names(table, mapping)
    if not given:
        raise InvalidInputError(
            f"{path}: none of its columns ({table.names}) is one of the {len(joints.names)} joints of {joints.name}; "
            "name them in a mapping file"
        )
    missing = [name for name in joints.names if name not in given]
    if mapping.robot is not None and missing:
        raise InvalidInputError(
            f"{path}: {joints.name} has {', '.join(missing)}, but no column gives it; it has {table.names}; name the "
            "column in a mapping file, or leave the joint out of the robot"
        )
    wanted = np.arange(num_frames) / FRAME_RATE_HZ
    last_s = float(wanted[-1])
    duration_s = max(last_s, float(video_times[-1])) if duration_s is None else duration_s
    time = None if mapping.time is None else str(mapping.time)
    rows = row_times(table, time, mapping.hz, video_times, last_s, duration_s)
    _check_limits(given, table, mapping)
    filled = {name: float(mapping.fill.get(name, 0.0)) for name in (*missing, *joints.unused)}
    values = np.empty((num_frames, ACTION_DIM), np.float32)
    for place, name in enumerate(joints.names_of_numbers):
        if name in filled:
            values[:, place] = filled[name]
        else:
            measured = _numbers(ACTION_NAMES[place], given[name], table, mapping)
            values[:, place] = np.interp(wanted, rows.times_s, measured)
    return States(values, filled, _poses(table, mapping, rows.times_s, wanted), _notes(rows, wanted, duration_s))


def _numbers(name: str, column: str, table: Table, mapping: StateMapping) -> Float64Array:
    """Returns the values of one action number in radians, m/s or rad/s, float64 [rows]."""
    values = table.numbers(column)
    if name in _ANGLES and mapping.angle_unit == "deg":
        return np.radians(values)
    must_be_rad = name in _JOINTS and mapping.angle_unit is None and mapping.robot is None
    if must_be_rad and np.abs(values).max() > _WIDEST_RAD:
        row = int(np.abs(values).argmax())
        raise DatasetError(
            f"{table.path}: row {row}, column {column!r}: expected {name} in rad, got {values[row]:g}; say in a "
            'mapping file "angle_unit": "deg" if angles are in degrees, "rad" if not'
        )
    return values


def _check_limits(given: Mapping[str, str], table: Table, mapping: StateMapping) -> None:
    """Raises `DatasetError` if a joint is measured beyond the limits of the robot."""
    for joint in mapping.joints.joints:
        if joint.low is None or joint.high is None:
            continue
        column, slack = given[joint.name], _OVERSHOOT * (joint.high - joint.low)
        values = _numbers(joint.number, column, table, mapping)
        beyond = np.maximum(joint.low - values, values - joint.high)
        row = int(beyond.argmax())
        if beyond[row] > slack:
            raise DatasetError(
                f"{table.path}: row {row}, column {column!r}: expected {joint.name} from {joint.low:g} to "
                f"{joint.high:g}, the limits of {mapping.joints.name}, got {values[row]:g}; correct the robot's limits "
                "in the mapping file, or the unit"
            )


def _poses(table: Table, mapping: StateMapping, times: Float64Array, wanted: Float64Array) -> Float32Array | None:
    """Returns the base poses at the wanted times; yaw is interpolated the short way round."""
    columns = {name: _column_of(name, table, mapping) for name in POSE_NAMES}
    given = {name: _numbers(name, column, table, mapping) for name, column in columns.items() if column is not None}
    if not given:
        return None
    if missing := [name for name in POSE_NAMES if name not in given]:
        raise InvalidInputError(
            f"{table.path}: a pose needs {', '.join(POSE_NAMES)}, but no column gives {', '.join(missing)}; name the "
            "columns in a mapping file, or leave the others out"
        )
    given["base_yaw"] = np.unwrap(given["base_yaw"])
    poses = np.column_stack([np.interp(wanted, times, given[name]) for name in POSE_NAMES])
    poses[:, 2] = (poses[:, 2] + np.pi) % (2 * np.pi) - np.pi
    return poses.astype(np.float32)


def _column_of(name: str, table: Table, mapping: StateMapping) -> str | None:
    """Returns the column of a joint or a coordinate of the pose; `None` if there is none."""
    if name in mapping.columns:
        column = str(mapping.columns[name])
        if column not in table:
            raise DatasetError(
                f"{table.path}: the mapping takes {name} from column {column!r}, which is not there; it has "
                f"{table.names}"
            )
        return column
    joints = mapping.joints.names
    in_order = "0" in table.columns and not mapping.columns and name in joints
    own = str(joints.index(name)) if in_order else name
    return own if own in table.columns else None


def _check_names(table: Table, mapping: StateMapping) -> None:
    """Raises `InvalidInputError` for a column that would be ignored because its name is slightly wrong."""
    time = () if mapping.time is not None or mapping.hz else (DEFAULT_TIME_COLUMN,)
    names = {*mapping.joints.names, *POSE_NAMES, *time}
    missing = names - set(mapping.columns) - set(table.columns)
    used = {str(column) for column in mapping.columns.values()}
    for column in table.columns:
        name = re.sub(r"[\s-]+", "_", column.lower())
        if name in missing and column not in used:
            raise InvalidInputError(
                f"{table.path}: column {column!r} is nearly {name!r}; rename it, or say what it is in a mapping file"
            )


def _notes(rows: RowTimes, wanted: Float64Array, duration_s: float) -> dict[str, float | str]:
    """Returns `States.notes` for the times of the rows and the wanted times."""
    times, error_s = rows.times_s, 1e-3
    after = np.searchsorted(times, wanted - error_s)
    inside = (after > 0) & (after < len(times)) & (np.abs(times[np.minimum(after, len(times) - 1)] - wanted) > error_s)
    steps = np.diff(times, prepend=times[:1])
    notes: dict[str, float | str] = {
        "interpolated_states": int((steps[after[inside]] > _GAP_S).sum()),
        "held_states": int((wanted > times[-1] + error_s).sum()),
    }
    if times[-1] > duration_s + _UNUSED_S:
        notes["unused_s"] = round(float(times[-1]) - duration_s, 3)
    if rows.unit != "s":
        notes["time_unit"] = rows.unit
    return {name: note for name, note in notes.items() if note}
