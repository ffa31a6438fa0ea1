"""How far actions leave the training data."""

from typing import Final

import numpy as np

from hwm_env.data.statistics import ActionStatistics
from hwm_env.types import Float32Array, Float64Array

_ROUNDING: Final = 1e-5
"""What may exceed a bound without counting as outside the training data."""
_SMALLEST_UNIT: Final = 1e-3
"""A number that never varied, or never changed, in the training data is measured in thousandths of its unit."""


def action_excess(
    statistics: ActionStatistics, chunks: Float64Array | Float32Array, last: Float64Array | Float32Array
) -> Float64Array:
    """How far each number of a chunk leaves the training data.

    The larger of two excesses: the distance outside of [low, high] in standard deviations of the number, and how much
    larger the change from the frame before is than the largest in the data, as a share of it (|change| / max_change -
    1). Where the standard deviation or `max_change` is below 0.001, 0.001 of the number's unit takes its place.

    Args:
        statistics: of the training data's actions.
        chunks: physical units, finite, float [B, 17, 25].
        last: the numbers of the frame before each chunk, float [B, 25].

    Returns:
        float64 [B, 17, 25]: 0 inside; rounding of up to 1e-5 of the number's unit counts as inside.
    """
    wanted = np.asarray(chunks, np.float64)
    beyond = np.maximum(statistics.low - wanted, wanted - statistics.high)
    changes = np.abs(np.diff(wanted, axis=1, prepend=np.asarray(last, np.float64)[:, None]))
    excesses = [
        np.where(distance > _ROUNDING, distance / np.maximum(unit, _SMALLEST_UNIT), 0.0)
        for distance, unit in ((beyond, statistics.std), (changes - statistics.max_change, statistics.max_change))
    ]
    return np.maximum(*excesses)
