"""Combinations of options: all of them, or few in which every pair of values occurs."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

Options = Mapping[str, Sequence[Any]]
"""The values of each option."""
Cover = Callable[[Options], list[dict[str, Any]]]
"""Chooses combinations of options."""


def all_combinations(options: Options) -> list[dict[str, Any]]:
    """Returns every combination."""
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def pairwise(options: Options) -> list[dict[str, Any]]:
    """Returns combinations of which, for any two options, each pair of their values occurs in at least one.

    Greedy: the next one is always the first of those with the most pairs that have not occurred yet.
    """
    size = min(2, len(options))
    candidates = {
        chosen: set(itertools.combinations(enumerate(chosen), size))
        for chosen in itertools.product(*(range(len(values)) for values in options.values()))
    }
    missing = set().union(*candidates.values())
    cover = []
    while missing:
        best = max(candidates, key=lambda chosen: len(candidates[chosen] & missing))
        missing -= candidates[best]
        cover.append({name: values[index] for (name, values), index in zip(options.items(), best, strict=True)})
    return cover


def grid(options: Options) -> Iterator[Any]:
    """Yields the parameters of a test for every combination; those beyond a pairwise cover are exhaustive."""
    cover = pairwise(options)
    for combination in all_combinations(options):
        marks = () if combination in cover else pytest.mark.exhaustive
        yield pytest.param(*combination.values(), marks=marks)
