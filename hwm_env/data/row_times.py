"""Determines when the rows of a table were measured, in seconds after the first frame of its video."""

from typing import Final, NamedTuple

import numpy as np

from hwm_env.data.tables import Table
from hwm_env.errors import DatasetError
from hwm_env.types import FRAME_RATE_HZ, Float64Array

DEFAULT_TIME_COLUMN: Final = "time"
UNITS_S: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_FASTEST_HZ: Final = 10_000
"""Maximum rate of measured states."""
_LONGEST: Final = 1.5
"""Maximum duration of a table, in durations of its video."""
_FRAME_S: Final = 1 / FRAME_RATE_HZ


class RowTimes(NamedTuple):
    """The times of the rows of a table."""

    times_s: Float64Array
    """float64 [rows], ascending from 0."""
    unit: str
    """Unit of the time column: "s", "ms", "us" or "ns"; "s" without a time column."""


def row_times(
    table: Table, column: str | None, hz: float | None, video_times: Float64Array, last_s: float, duration_s: float
) -> RowTimes:
    """Determines when the rows were measured; the first row belongs to the video's first frame.

    Plain numbers in a column are read as seconds, milliseconds, microseconds or nanoseconds: the unit in which their
    duration is closest to the video's. Their clock may start at any time.

    Args:
        table: the table.
        column: name of the time column; `None` means "time", if that exists.
        hz: rows a second if no column contains the times; `None` means one row for each frame of the video.
        video_times: float64 [M], when the frames of the video are shown, in seconds after the first one.
        last_s: time until which states are needed.
        duration_s: duration of the video by its own header.

    Raises:
        DatasetError: times are missing or do not ascend, or the table is much longer or shorter than the video in every
            unit; the message then contains a rate or a scale that would fit.
    """
    named = DEFAULT_TIME_COLUMN if column is None else column
    if column is not None and column not in table:
        raise DatasetError(f"{table.path}: the mapping's time column {column!r} is not there; it has {table.names}")
    if named in table:
        times, unit = _times_of_column(table, named, duration_s)
        kind = f" by {named!r}" + ("" if table.column(named).is_time else f", read in {unit}")
        remedy = "multiplied by {scale:.4g} the times would fit: correct them, or cut the longer of both"
    elif hz is not None:
        times, unit = np.arange(table.num_rows) / hz, "s"
        kind, remedy = f" at {hz:g} Hz", "hz {rate:.4g} would fit: correct the mapping, or cut the longer of both"
    elif table.num_rows > len(video_times):
        raise DatasetError(
            f"{table.path}: expected a row for each of the video's {len(video_times)} frames, got {table.num_rows} "
            f'rows; say when they were measured in a mapping file, by a column of "time" or by their rate "hz" '
            f"({_rate(table.num_rows, duration_s):.4g} would fit)"
        )
    else:
        times, unit = video_times[: table.num_rows], "s"
        kind, remedy = ", one a frame", "cut the video, or give hz ({rate:.4g} would fit) in a mapping file"
    end_s = float(times[-1]) if len(times) else 0.0
    is_short, is_long = len(times) == 0 or end_s < last_s - _FRAME_S, end_s > _LONGEST * duration_s + _FRAME_S
    if is_short or is_long:
        expected = f"up to {last_s:.3f} s, the end of the video" if is_short else f"for a video of {duration_s:.3f} s"
        reading = remedy.format(scale=duration_s / max(end_s, 1e-9), rate=_rate(len(times), duration_s))
        raise DatasetError(
            f"{table.path}: expected states {expected}, got {len(times)} rows up to {end_s:.3f} s{kind}; {reading}"
        )
    return RowTimes(times, unit)


def _rate(num_rows: int, duration_s: float) -> float:
    """Returns the rate, in rows a second, at which the table is as long as the video."""
    return (num_rows - 1) / max(duration_s, _FRAME_S)


def _times_of_column(table: Table, column: str, duration_s: float) -> RowTimes:
    times = table.numbers(column)
    steps = np.diff(times)
    if (steps <= 0).any():
        row = int(np.flatnonzero(steps <= 0)[0]) + 1
        remedy = (
            "remove what is there twice" if steps[row - 1] == 0 else "split table and video there, or sort the rows"
        )
        raise DatasetError(
            f"{table.path}: times in {column!r} must ascend, got {times[row]} in row {row} after {times[row - 1]}; "
            f"{remedy}"
        )
    times = times - times[:1]
    if table.column(column).is_time or len(times) < 2:
        return RowTimes(times, "s")
    span, expected_s = float(times[-1]), max(duration_s, _FRAME_S)
    units = [unit for unit, size in UNITS_S.items() if unit == "s" or len(times) <= _FASTEST_HZ * span * size]
    unit = min(units, key=lambda unit: abs(np.log(span * UNITS_S[unit] / expected_s)))
    return RowTimes(times * UNITS_S[unit], unit)
