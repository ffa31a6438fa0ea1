"""Simulates policies whose expected success rates are known, and their trials from shared starts."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch

from hwm_env.types import Float64Array

DIFFICULTY: Final = 0.5
"""Share of a trial's luck that its start decides, for all policies and both worlds."""
LUCK: Final = 0.25
"""Share that the two worlds have in common besides, such as a policy's own random numbers."""
WITHIN: Final = 0.05
"""Standard deviation of success rates within a family."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A population of policies, and how many of them play from how many starts."""

    families: int
    """Number of families."""
    members: int = 1
    """Policies of each family."""
    starts: int
    """Trials of each policy in each world."""
    rates: Literal["uniform", "low", "high"] = "uniform"
    """Distribution of expected success rates in the true world: 0.05 to 0.95, mostly near 0, mostly near 1."""
    error: float | None = 0.1
    """Standard deviation of learned rates around 0.1 + 0.75 x true ones; `None`: they are unrelated."""

    @property
    def policies(self) -> int:
        """Number of policies."""
        return self.families * self.members


def draw_rates(scenario: Scenario, families: int, rng: np.random.Generator) -> tuple[Float64Array, Float64Array]:
    """Draws expected success rates in the true and the learned world, each [families x members]."""
    true = {
        "uniform": lambda: rng.uniform(0.05, 0.95, families),
        "low": lambda: rng.beta(1, 6, families),
        "high": lambda: rng.beta(4, 1.2, families),
    }[scenario.rates]()
    if scenario.error is None:
        learned = rng.uniform(0.05, 0.95, families)
    else:
        learned = 0.1 + 0.75 * true + rng.normal(0, scenario.error, families)
    true, learned = (each.repeat(scenario.members) for each in (true, learned))
    if scenario.members > 1:
        # The learned world is as wrong about a member's difference to its family as about the family.
        step = rng.normal(0, WITHIN, len(true))
        true, learned = true + step, learned + 0.75 * step + rng.normal(0, WITHIN / 2, len(true))
    return np.clip(true, 0.01, 0.99), np.clip(learned, 0.01, 0.99)


def play(
    true: Float64Array, learned: Float64Array, difficulty: Float64Array, rng: np.random.Generator
) -> tuple[Float64Array, Float64Array]:
    """Plays a trial of each policy from each start in both worlds.

    A policy succeeds if its skill exceeds the start's difficulty and its luck, which are normal.

    Args:
        true: expected success rates in the true world, [P].
        learned: the same in the learned world, [P].
        difficulty: standard normal, [S].
        rng: source of luck.

    Returns:
        Success (0 or 1) in the true and the learned world, [P, S].
    """
    shape = len(true), len(difficulty)
    shared = np.sqrt(DIFFICULTY) * difficulty + np.sqrt(LUCK) * rng.standard_normal(shape)
    own = np.sqrt(1 - DIFFICULTY - LUCK)
    a, b = (
        (shared + own * rng.standard_normal(shape) < torch.special.ndtri(torch.from_numpy(rates)).numpy()[:, None])
        for rates in (true, learned)
    )
    return a.astype(np.float64), b.astype(np.float64)
