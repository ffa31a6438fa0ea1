"""Statistics of the features of a LeRobot data set: least, largest and mean value, standard deviation, count."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from hwm_env.types import UInt8Array

Statistics: TypeAlias = dict[str, Any]
"""Lists of numbers by "min", "max", "mean", "std" and "count"."""


def statistics_of(values: npt.NDArray[Any]) -> Statistics:
    """Returns the statistics of rows, [N] or [N, D]; each is a list of D numbers (1 for [N]), and the count of one."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    return _as_lists(rows.min(0), rows.max(0), rows.mean(0), rows.std(0), len(rows))


def statistics_of_pictures(frames: UInt8Array) -> Statistics:
    """Returns the statistics of the channels of uint8 [N, H, W, 3] in [0, 1], each as a list [3, 1, 1]."""
    levels = np.arange(256) / 255
    found = []
    for channel in range(3):
        counts = np.bincount(frames[..., channel].ravel(), minlength=256)
        present = levels[counts > 0]
        mean = float(counts @ levels / counts.sum())
        deviation = float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum()))
        found.append((present[0], present[-1], mean, deviation))
    least, largest, mean_of_each, std = np.array(found).T[..., None, None]
    return _as_lists(least, largest, mean_of_each, std, len(frames))


def combined(parts: Sequence[Statistics]) -> Statistics:
    """Returns the statistics of several parts together."""
    arrays = [{name: np.array(value, np.float64) for name, value in part.items()} for part in parts]
    counts = np.array([part["count"][0] for part in arrays])
    shares = counts / counts.sum()
    mean = sum(share * part["mean"] for share, part in zip(shares, arrays, strict=True))
    squares = [part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in arrays]
    variance = sum(share * square for share, square in zip(shares, squares, strict=True))
    least, largest = (getattr(np, name)([part[name] for part in arrays], axis=0) for name in ("min", "max"))
    return _as_lists(least, largest, np.asarray(mean), np.sqrt(variance), int(counts.sum()))


def _as_lists(
    least: npt.NDArray[Any], largest: npt.NDArray[Any], mean: npt.NDArray[Any], std: npt.NDArray[Any], count: int
) -> Statistics:
    arrays = {"min": least, "max": largest, "mean": mean, "std": std}
    return {name: array.tolist() for name, array in arrays.items()} | {"count": [count]}
