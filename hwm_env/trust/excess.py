"""Measures how far actions leave the training data."""

from typing import Final

import numpy as np

from hwm_env.data.statistics import ActionStatistics
from hwm_env.types import Float32Array, Float64Array

_ROUNDING: Final = 1e-5
"""Largest excess over a bound that still counts as inside the training data."""
_SMALLEST_UNIT: Final = 1e-3
"""Smallest unit of measurement, for a number that hardly varied, or hardly changed, in the training data."""


def action_excess(
    statistics: ActionStatistics, chunks: Float64Array | Float32Array, last: Float64Array | Float32Array
) -> Float64Array:
    """Returns how far each number of a chunk leaves the training data.

    This is the larger of two excesses: the distance outside [low, high] in standard deviations of the number, and the
    relative excess of the change since the previous frame over the largest change in the data (|change| / max_change -
    1). A standard deviation or `max_change` below 0.001 of the number's unit counts as 0.001.

    Args:
        statistics: statistics of the training data's actions.
        chunks: finite numbers in physical units, float [B, 17, 25].
        last: actions of the frame before each chunk, float [B, 25].

    Returns:
        float64 [B, 17, 25]: 0 inside the data; an excess of up to 1e-5 of the number's unit counts as inside.
    """
    wanted = np.asarray(chunks, np.float64)
    beyond = np.maximum(statistics.low - wanted, wanted - statistics.high)
    changes = np.abs(np.diff(wanted, axis=1, prepend=np.asarray(last, np.float64)[:, None]))
    excesses = [
        np.where(distance > _ROUNDING, distance / np.maximum(unit, _SMALLEST_UNIT), 0.0)
        for distance, unit in ((beyond, statistics.std), (changes - statistics.max_change, statistics.max_change))
    ]
    return np.maximum(*excesses)
