"""Shuffles training samples as a function of a seed and a position, so that no order has to be saved."""

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.types import Int64Array


class EpochShuffle:
    """An endless sequence of indices in which each epoch is another permutation of all of them."""

    def __init__(self, num_items: int, seed: int) -> None:
        """Prepares the sequence; one epoch's permutation is in memory at a time.

        Raises:
            InvalidInputError: `num_items` is below 1.
        """
        if num_items < 1:
            raise InvalidInputError(f"expected at least 1 item to shuffle, got {num_items}")
        self._num_items = num_items
        self._seed = seed
        self._epoch = -1
        self._order: Int64Array = np.empty(0, np.int64)

    def indices(self, start: int, stop: int) -> Int64Array:
        """Returns the indices at positions `start` (counted from 0) to `stop` of the sequence, int64 [stop - start]."""
        parts: list[Int64Array] = []
        while start < stop:
            epoch, first = divmod(start, self._num_items)
            last = min(first + stop - start, self._num_items)
            parts.append(self._permutation(epoch)[first:last])
            start += last - first
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _permutation(self, epoch: int) -> Int64Array:
        if epoch != self._epoch:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(self._num_items)
            self._epoch = epoch
        return self._order
