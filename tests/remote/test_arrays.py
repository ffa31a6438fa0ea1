"""Arrays in JSON."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.remote.arrays import DTYPES, packed, unpacked


@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_arrays_are_restored_to_the_bit(dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 100, (2, 0, 3) if dtype == "int64" else (2, 5)).astype(dtype)
    restored = unpacked(json.loads(json.dumps(packed(array))))
    assert (restored.dtype, restored.shape, restored.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_lists_of_float32_are_restored_to_the_bit(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    restored = unpacked(json.loads(json.dumps(array.tolist()))).astype(np.float32)
    assert restored.tobytes() == array.tobytes()


def test_whole_numbers_stay_whole() -> None:
    assert unpacked([[1, 2], [3, 2**40]]).dtype == np.int64
    assert unpacked([1.0, 2.0]).dtype == np.float64


@pytest.mark.parametrize("value", [None, "1", {}, [[1], [1, 2]], [None], ["a"], [2**70], [True], {"dtype": "float32"}])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"expected|packed"):
        unpacked(value)
