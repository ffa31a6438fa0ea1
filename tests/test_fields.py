"""One declaration checks types and limits, however a configuration is made."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Ge, Lt

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, Share, checked, from_json, real_numbers, short


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner(CheckedFields):
    size: Count = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer(CheckedFields):
    count: Count
    share: Share | None = None
    mode: Literal["a", "b"] = "a"
    sides: tuple[Count, Count] = (1, 2)
    inner: Inner = Inner()

    def check_together(self) -> None:
        if self.count == 7:
            raise InvalidInputError("count must not be 7")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, 3, 3),
        (int, np.int64(3), 3),
        (int, np.uint8(3), 3),
        (float, 3, 3),
        (float, np.float32(0.5), 0.5),
        (float, np.int32(3), 3),
        (bool, np.bool_(True), True),
        (str | Path, Path("x"), Path("x")),
        (Share | None, None, None),
        (tuple[Count, ...], (np.int64(1), 2), (1, 2)),
        (Literal["a", "b"], np.str_("a"), "a"),
    ],
)
def test_valid_values_become_plain_python(kind: Any, value: object, expected: object) -> None:
    result = checked("x", value, kind)
    assert result == expected
    assert not isinstance(result, np.generic)
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, True, "x must be a whole number, got True"),
        (int, 2.0, "x must be a whole number, got 2.0"),
        (int, np.float64(2.0), "x must be a whole number, got 2.0"),
        (int, "3", "x must be a whole number, got '3'"),
        (int, [3], r"x must be a whole number, got \[3\]"),
        (int, np.array(3), r"x must be a whole number, got array\(3\)"),
        (float, True, "x must be a number, got True"),
        (float, "0.5", "x must be a number, got '0.5'"),
        (float, 1j, "x must be a number, got 1j"),
        (float, math.nan, "x must be a finite number, got nan"),
        (float, np.float32(np.inf), "x must be a finite number, got inf"),
        (bool, 1, "x must be True or False, got 1"),
        (Count, 0, "x must be at least 1, got 0"),
        (Count, 10**400, r"x must be below 2147483648, got 10+\.\.\."),
        (Share | None, 1.5, "x must be at most 1 or None, got 1.5"),
        (Literal["a", "b"], "c", "x must be one of 'a' or 'b', got 'c'"),
        (tuple[Count, Count], (1, 2, 3), r"x must be .*at most 2 items.*, got \(1, 2, 3\)"),
        (tuple[Count, Count], (1, 0), r"x\[1\] must be at least 1, got 0"),
        (list[Annotated[int, Ge(0), Lt(3)]], [0, 3], r"x\[1\] must be below 3, got 3"),
        (str | Path, b"x", "x must be a text or a Path, got b'x'"),
    ],
)
def test_invalid_values_are_refused_with_the_expected_kind(kind: Any, value: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{message}"):
        checked("x", value, kind)


def test_a_dataclass_checks_each_field_and_then_all_together() -> None:
    outer = Outer(count=np.int64(3), sides=(np.int64(4), 5))  # type: ignore[arg-type]
    assert (outer.count, outer.sides) == (3, (4, 5))
    assert type(outer.count) is type(outer.sides[0]) is int
    for wrong, message in (
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"count": 7}, "count must not be 7"),
        ({"count": 1, "mode": "c"}, "mode must be one of"),
        ({"count": 1, "inner": {"size": 1}}, "inner must be"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            Outer(**wrong)  # type: ignore[arg-type]


def test_json_makes_tuples_of_lists_and_names_fields() -> None:
    assert from_json(Outer, {"count": 2, "sides": [3, 4]}) == Outer(count=2, sides=(3, 4))
    for content, message in (
        ([1], r"expected an object with the fields of Outer, got \[1\]"),
        ({"sides": [1, 2]}, r"missing fields \['count'\]"),
        ({"count": 1, "cuont": 2}, r"unknown fields \['cuont'\]"),
        ({"count": 1.0}, "count must be a whole number"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            from_json(Outer, content)


@pytest.mark.parametrize(
    "value", [np.zeros(2, complex), np.array([1, 2], object), ["1", "2"], [None, 1.0], np.array([True]), [[1], [1, 2]]]
)
def test_numbers_are_real(value: object) -> None:
    with pytest.raises(InvalidInputError, match="action: expected 2 numbers, got"):
        real_numbers("action", value, "2 numbers")


def test_numbers_of_any_real_type_are_taken_and_copied() -> None:
    given = np.array([1.5, -2.0])
    taken = real_numbers("action", given, "2 numbers")
    taken[0] = 0.0
    assert given[0] == 1.5
    np.testing.assert_array_equal(real_numbers("action", [1, 2], ""), [1.0, 2.0])
    np.testing.assert_array_equal(real_numbers("action", np.float16([0.5]), ""), [0.5])


def test_long_values_are_shortened_to_a_line() -> None:
    assert len(short("x" * 10**6)) < 100
    assert "\n" not in short(np.arange(10_000).reshape(100, 100))
