"""Compares policies two by two: which is better, in each world."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from hwm_env.evaluation.bootstrap import Estimate
from hwm_env.evaluation.intervals import Z
from hwm_env.types import Float64Array


@dataclass(frozen=True, slots=True)
class PolicyPair:
    """The difference of two policies' success rates, the first minus the second, from the same starts."""

    first: str
    second: str
    true: Estimate
    learned: Estimate


def compare_pairs(true: Float64Array, learned: Float64Array, names: Sequence[str]) -> list[PolicyPair]:
    """Compares each two policies in both worlds.

    Args:
        true: success (0 or 1) of each policy from each start in the true world, [P, S].
        learned: the same in the learned world, [P, S].
        names: of the policies, [P].
    """
    return [
        PolicyPair(names[a], names[b], paired_difference(true[a], true[b]), paired_difference(learned[a], learned[b]))
        for a, b in combinations(range(len(names)), 2)
    ]


def paired_difference(first: Float64Array, second: Float64Array) -> Estimate:
    """Returns the difference of two success rates from the same starts, with the interval of Agresti and Min (2005).

    That is Wald's after half a trial has been added to each of the four outcomes of a pair, so that it has a width even
    if both policies always succeed together.

    Args:
        first: success (0 or 1) from each start, [S].
        second: the same of the other policy, [S].
    """
    trials = len(first) + 2
    difference, discordant = float((first - second).sum()), float((first != second).sum())
    centre = difference / trials
    reach = Z * math.sqrt(discordant + 1 - difference**2 / trials) / trials
    return Estimate(difference / len(first), max(centre - reach, -1.0), min(centre + reach, 1.0))


def clear_winners(pairs: Sequence[PolicyPair]) -> Mapping[str, Mapping[str, float | int]]:
    """Counts the pairs whose interval excludes 0, in each world, and how often the other world names the same winner.

    Returns:
        By world, "true" and "learned": `pairs`, their number; and `confirmed`, the share (0..1) of these whose
        difference has the same sign in the other world; NaN if there is none.
    """
    clear = {
        "true": [pair for pair in pairs if _is_clear(pair.true)],
        "learned": [pair for pair in pairs if _is_clear(pair.learned)],
    }
    return {
        world: {"pairs": len(found), "confirmed": sum(map(_agrees, found)) / len(found) if found else math.nan}
        for world, found in clear.items()
    }


def _is_clear(difference: Estimate) -> bool:
    return difference.low > 0 or difference.high < 0


def _agrees(pair: PolicyPair) -> bool:
    return pair.true.value * pair.learned.value > 0
