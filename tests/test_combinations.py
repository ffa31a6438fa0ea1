"""A pairwise cover has each pair of values, in few combinations."""

import itertools
from typing import Any

import pytest

from tests.combinations import Options, all_combinations, grid, pairwise

OPTIONS: list[Options] = [
    {"one": "abc", "other": (1, 2)},
    {"a": (0, 1), "b": (None, "x", ...), "c": (True,), "d": (0, 1, 2, 3)},
    {str(index): (False, True) for index in range(9)},
    {"a": range(3), "b": range(3), "c": range(3), "d": range(3), "e": range(3)},
]


def pairs(combination: dict[str, Any]) -> set[Any]:
    return set(itertools.combinations(combination.items(), 2))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_pair_of_values_occurs(options: Options) -> None:
    cover = pairwise(options)
    expected = {
        ((name, value), (other, other_value))
        for (name, values), (other, other_values) in itertools.combinations(options.items(), 2)
        for value in values
        for other_value in other_values
    }
    assert set().union(*map(pairs, cover)) == expected
    assert all(combination.keys() == options.keys() for combination in cover)


def test_a_cover_is_small() -> None:
    assert [(len(pairwise(options)), len(all_combinations(options))) for options in OPTIONS] == [
        *((6, 6), (12, 24), (8, 512), (15, 243))
    ]


def test_fewer_than_two_options_are_all_covered() -> None:
    assert pairwise({"a": "xyz"}) == [{"a": "x"}, {"a": "y"}, {"a": "z"}]
    assert pairwise({}) == all_combinations({}) == [{}]


def test_a_grid_has_every_combination_and_marks_those_beyond_the_cover() -> None:
    options = OPTIONS[3]
    parameters = list(grid(options))
    assert [each.values for each in parameters] == [tuple(each.values()) for each in all_combinations(options)]
    unmarked = [each.values for each in parameters if not each.marks]
    assert unmarked == [values for each in all_combinations(options) if (values := tuple(each.values())) in unmarked]
    assert {tuple(each.values()) for each in pairwise(options)} == set(unmarked)
    assert {mark.name for each in parameters for mark in each.marks} == {"exhaustive"}
