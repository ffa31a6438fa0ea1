"""The order of training samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.data.shuffle import EpochShuffle
from hwm_env.errors import InvalidInputError


@given(st.integers(1, 40), st.integers(0, 5), st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_any_division_gives_the_same_order(num_items: int, seed: int, lengths: list[int]) -> None:
    whole = EpochShuffle(num_items, seed).indices(0, sum(lengths))
    shuffle, parts, start = EpochShuffle(num_items, seed), [], 0
    for length in lengths:
        parts.append(shuffle.indices(start, start + length))
        start += length
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(EpochShuffle(num_items, seed).indices(start // 2, start), whole[start // 2 :])


def test_every_epoch_is_another_permutation() -> None:
    epochs = EpochShuffle(100, seed=3).indices(0, 300).reshape(3, 100)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(100))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], EpochShuffle(100, seed=4).indices(0, 100))


def test_neighbours_are_parted() -> None:
    """A shuffle by blocks, or none, leaves many neighbours together; a permutation of 10,000 about two."""
    order = EpochShuffle(10_000, seed=0).indices(0, 10_000)
    assert np.count_nonzero(np.abs(np.diff(order)) == 1) < 12


def test_nothing_cannot_be_shuffled() -> None:
    with pytest.raises(InvalidInputError, match="at least 1 item"):
        EpochShuffle(0, seed=0)
