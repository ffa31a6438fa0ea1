"""Permutation tests: how often learned results that are assigned to the policies by chance agree as well."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Final, Literal

import numpy as np

from hwm_env.evaluation.policies.measures import AGREEMENT, Measure
from hwm_env.types import Float64Array, Int64Array

MOST_EXACT: Final = 8
"""Largest number of policies whose permutations are all tried: 40,320."""
SAMPLES: Final = 100_000
"""Number of random permutations for more policies."""
CHUNK: Final = 2_000
"""Permutations that are computed together."""


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """One-sided probabilities of an agreement at least as good as the measured one, if the worlds are unrelated."""

    method: Literal["exact", "Monte Carlo"]
    permutations: int
    """Number of permutations; random ones for Monte Carlo."""
    p: Mapping[str, float]
    """By measure; NaN if the measure is undefined."""


def permutation_test(true: Float64Array, learned: Float64Array, seed: int = 0) -> PermutationTest:
    """Tests each measure of agreement: a correlation at least as large, an MMRV at most as large.

    With Monte Carlo, p is (1 + number of such permutations) / (1 + number of permutations), and never 0.

    Args:
        true: mean results of exchangeable policies in the true world, [P].
        learned: the same in the learned world, [P].
        seed: of random permutations.
    """
    count = len(true)
    exact = count <= MOST_EXACT
    orders: Int64Array
    if exact:
        orders = np.array(list(permutations(range(count))))
    else:
        orders = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (SAMPLES, 1)), axis=1)
    return PermutationTest(
        "exact" if exact else "Monte Carlo",
        len(orders),
        {name: _p(measure, name == "mmrv", true, learned, orders, exact) for name, measure in AGREEMENT.items()},
    )


def _p(
    measure: Measure, less: bool, true: Float64Array, learned: Float64Array, orders: Int64Array, exact: bool
) -> float:
    sign = -1.0 if less else 1.0
    measured = sign * float(measure(true, learned))
    if not np.isfinite(measured):
        return float("nan")
    # Equal values differ by rounding errors.
    as_good = sum(
        int((sign * measure(true, learned[orders[first : first + CHUNK]]) >= measured - 1e-12).sum())
        for first in range(0, len(orders), CHUNK)
    )
    return as_good / len(orders) if exact else (1 + as_good) / (1 + len(orders))
