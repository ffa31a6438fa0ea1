"""Statistics of the actions of a training split, which are stored with the weights."""

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, fields
from typing import Final

import numpy as np

from hwm_env.data.reader import Dataset, Shard
from hwm_env.errors import DatasetError
from hwm_env.fields import short
from hwm_env.types import ACTION_DIM, Float32Array, frozen

COLUMNS_A_PASS: Final = 5
"""A divisor of 25. All columns of the full-size data set at once take a gigabyte; one at a time takes 25 passes."""


_LARGEST: Final = 1e6
"""Largest value of a statistic (rad, m/s, rad/s), far beyond any robot."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ActionStatistics:
    """Statistics of the 25 action numbers in their own units; every field is float32 [25].

    The arrays are read-only copies.
    """

    mean: Float32Array
    """Mean over all frames."""
    std: Float32Array
    """Standard deviation over all frames."""
    low: Float32Array
    """Smallest value."""
    high: Float32Array
    """Largest value."""
    p01: Float32Array
    """1st percentile."""
    p99: Float32Array
    """99th percentile."""
    max_change: Float32Array
    """Largest absolute change from one frame to the next within a segment; 0 without such a pair."""

    def __post_init__(self) -> None:
        for field in fields(self):
            values = getattr(self, field.name)
            if values.shape != (ACTION_DIM,) or values.dtype != np.float32 or not (np.abs(values) < _LARGEST).all():
                raise DatasetError(
                    f"action statistics: expected {field.name} as {ACTION_DIM} finite float32 numbers below "
                    f"{_LARGEST:g}, got {values.dtype} {list(values.shape)}: {short(values)}"
                )
            object.__setattr__(self, field.name, frozen(values))
        if not (self.low <= self.high).all() or min(self.std.min(), self.max_change.min()) < 0:
            raise DatasetError("action statistics: expected low below high, and std and max_change of at least 0")

    def to_dict(self) -> dict[str, list[float]]:
        """Returns the statistics as lists, for JSON; `from_dict` restores them to the bit."""
        return {name: values.tolist() for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, object]) -> "ActionStatistics":
        """Restores what `to_dict` returned.

        Raises:
            DatasetError: a field is missing, unknown, or not 25 finite numbers.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(content, Mapping) or set(content) != names:
            raise DatasetError(
                f"action statistics: expected the keys {sorted(names)}, got "
                f"{short(sorted(content) if isinstance(content, Mapping) else content)}"
            )
        try:
            return cls(**{name: np.array(values, dtype=np.float32) for name, values in content.items()})
        except (TypeError, ValueError, OverflowError) as error:
            raise DatasetError(f"action statistics: expected lists of numbers ({error})") from error

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> "ActionStatistics":
        """Computes the statistics over all frames of a data set.

        Raises:
            DatasetError: a state is NaN or infinite.
        """
        # A copy of a shard maps its files itself and releases them; the maps of a whole split count as a gigabyte.
        max_change = np.max([_max_change(copy(shard)) for shard in dataset.shards], axis=0)
        values_by_column = np.empty((COLUMNS_A_PASS, dataset.num_frames), dtype=np.float32)
        columns = []
        for first in range(0, ACTION_DIM, COLUMNS_A_PASS):
            stop = 0
            for shard in dataset.shards:
                start, stop = stop, stop + shard.num_frames
                values_by_column[:, start:stop] = copy(shard).states[:, first : first + COLUMNS_A_PASS].T
            for values in values_by_column:
                p01, p99 = np.percentile(values, [1, 99])
                mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
                columns.append((mean, std, values.min(), values.max(), p01, p99))
        mean, std, low, high, p01, p99 = np.array(columns, dtype=np.float32).T.copy()
        return cls(mean=mean, std=std, low=low, high=high, p01=p01, p99=p99, max_change=max_change)


def _max_change(shard: Shard) -> Float32Array:
    shard.check_states(0, shard.num_frames)
    changes = np.abs(np.diff(shard.states, axis=0))[np.diff(shard.segments) == 0]
    largest: Float32Array = changes.max(axis=0, initial=np.float32(0))
    return largest
