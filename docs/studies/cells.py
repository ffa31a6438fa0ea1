"""Cells of tables of results: numbers as text."""

from collections.abc import Mapping, Sequence
from typing import Any

Content = Mapping[str, Any]
Rows = Sequence[Sequence[str]]


def decibels(value: float) -> str:
    """Returns decibels with one digit."""
    return f"{value:.1f}"


def percent(value: float) -> str:
    """Returns a share (0..1) in percent."""
    return f"{100 * value:.0f} %"


def with_interval(estimate: Content, digits: int) -> str:
    """Returns an estimate with its interval."""
    value, low, high = (number(estimate[key], digits) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def number(value: float | None, digits: int) -> str:
    """Returns a number; "-" if it is undefined, for which JSON has no number."""
    return "-" if value is None else f"{value:.{digits}f}"


def estimate(measure: Content, digits: int) -> str:
    """Returns a measured value, then that of the expected results with its interval over starts."""
    return f"{number(measure['value'], digits)}; {with_interval(measure['over_starts'], digits)}"


def metres(value: float | None) -> str:
    """Returns a length; "-" if it is undefined."""
    return "-" if value is None else f"{value:.2f} m"


def counted(step: str) -> str:
    """Returns a number of steps with its noun."""
    return f"{step} step" if step == "1" else f"{step} steps"


def median_and_p90(error: Content) -> str:
    """Returns an error's median and, in parentheses, its 90th percentile."""
    digits = 1 if error["unit"] == "deg" else 3
    return f"{error['median']:.{digits}f} ({error['p90']:.{digits}f})"
