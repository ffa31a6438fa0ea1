"""Converts the cells of a table to numbers: numbers, times, durations or lists of numbers."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hwm_env.types import Float64Array

_BOOLEANS: Final = {"true": 1.0, "false": 0.0}
_DURATION: Final = re.compile(r"(?:(-?\d+) days? \+?)?(\d+):(\d\d):(\d\d(?:\.\d+)?)")
"""Such as "0 days 00:00:01.033333", as pandas writes it, or a time of day."""


class Column(NamedTuple):
    """A column of a table as numbers."""

    values: Float64Array
    """float64 [rows], or [rows, places] for a column of lists; NaN where a cell is not a number."""
    is_time: bool
    """Whether the file declares them as times; they are then in seconds since the first row."""


def column_of_text(cells: Sequence[str]) -> Column:
    """Parses a column of text as numbers, lists of numbers, times with dates, or durations."""
    values = numbers(cells)
    given = [index for index, cell in enumerate(cells) if cell.strip()]
    if given and np.isnan(values[given]).all():
        if cells[given[0]].strip().startswith("["):
            rows = [re.split(r"[\s,]+", cell.strip().strip("[]").strip()) if cell.strip() else [] for cell in cells]
            return column_of_lists(rows)
        if (first := _microseconds(cells[given[0]])) is not None:
            times = [_microseconds(cell) for cell in cells]
            values = np.array([np.nan if time is None else (time - first) / 1e6 for time in times])
            return Column(values, is_time=True)
    return Column(values, is_time=False)


def column_of_lists(rows: Sequence[Sequence[object] | None]) -> Column:
    """Returns one number for each place of the lists; all are NaN if the lists differ in length."""
    lengths = {len(row) for row in rows if row}
    if len(lengths) != 1:
        return Column(np.full(len(rows), np.nan), is_time=False)
    nothing = [None] * lengths.pop()
    return Column(np.stack([numbers(row or nothing) for row in rows]), is_time=False)


def column_of_array(values: npt.NDArray[Any]) -> Column:
    """Converts an array [rows] or [rows, places] of numbers, booleans, times or durations; other types become NaN."""
    match values.dtype.kind:
        case "m" | "M":
            return Column(_seconds(values), is_time=True)
        case "b" | "i" | "u" | "f" if values.ndim <= 2:
            return Column(values.astype(np.float64), is_time=False)
        case "O" if values.ndim == 1:
            return Column(numbers(values.tolist()), is_time=False)
    return Column(np.full(len(values), np.nan), is_time=False)


def numbers(cells: Sequence[object]) -> Float64Array:
    """Converts cells to float64 [rows]; a cell that is not a number (a comment, an empty cell) becomes NaN."""

    def number(cell: Any) -> float:
        try:
            return float(cell)
        except (TypeError, ValueError):
            return _BOOLEANS.get(str(cell).strip().lower(), float("nan"))

    return np.array([number(cell) for cell in cells], dtype=np.float64)


def _seconds(times: npt.NDArray[Any]) -> Float64Array:
    """Returns the seconds since the first known time, to the precision of float64; NaN if a time is missing."""
    known = np.flatnonzero(~np.isnat(times))
    if len(known) == 0:
        return np.full(len(times), np.nan)
    # Subtract before rounding: nanoseconds since 1970 do not fit into a float64.
    seconds: Float64Array = (times - times[known[0]]) / np.timedelta64(1, "s")
    return seconds


def _microseconds(cell: str) -> int | None:
    """Parses a date with a time (as microseconds since 1970) or a duration; returns `None` if it is neither."""
    cell = cell.strip()
    if match := _DURATION.fullmatch(cell):
        days, hours, minutes, seconds = match.groups(default="0")
        return round((int(days) * 86_400 + int(hours) * 3_600 + int(minutes) * 60 + float(seconds)) * 1e6)
    try:
        time = datetime.fromisoformat(cell)
    except ValueError:
        return None
    if time.tzinfo is not None:
        time = time.astimezone(UTC).replace(tzinfo=None)
    return (time - datetime(1970, 1, 1)) // timedelta(microseconds=1)
