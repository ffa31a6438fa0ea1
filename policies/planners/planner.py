"""Searches for the plan of a few env steps with the highest value in a world."""

import time
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Ge

from hwm_env.envs.world import M, World
from hwm_env.fields import CheckedFields, Count, Positive
from hwm_env.tasks.base import Goal
from hwm_env.types import Float32Array, Float64Array
from policies.planners.imagination import Caution, Imagination
from policies.planners.knots import Knots
from policies.planners.search import Search


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannerConfig(CheckedFields):
    """Settings of a planner."""

    horizon: Count = 3
    """Env steps of a plan."""
    knots: Count = 1
    """Knots of a plan."""
    samples: Annotated[Count, Ge(2)] = 16
    """Plans per iteration."""
    iterations: Count = 2
    """Largest number of iterations."""
    budget_ms: Positive | None = None
    """Time after which no further iteration begins, though the first always runs; `None`: no limit."""
    caution: Caution = field(default_factory=Caution)
    """How uncertain predictions are weighed."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The result of planning."""

    chunks: Float32Array
    """Actions of the next env steps, physical units, [horizon, 17, 25]."""
    parameters: Float64Array
    """The same as parameters of the knots, [size]."""
    worth: float
    """Value of the plan, see `Imagination.worth`."""
    iterations: int
    """Number of iterations."""
    clips: int
    """Number of predicted clips."""


def make_plan(
    world: World[M],
    moment: M,
    goal: Goal,
    elapsed_steps: int,
    *,
    knots: Knots,
    search: Search,
    config: PlannerConfig,
    rng: np.random.Generator,
    last: Plan | None = None,
) -> Plan:
    """Searches for a plan, and returns the best one found.

    Args:
        world: world in which plans are predicted.
        moment: the present moment in this world.
        goal: computes the rewards.
        elapsed_steps: env steps of the episode so far.
        knots: parametrisation of plans.
        search: the search method.
        config: settings.
        rng: source of all noise.
        last: plan of the env step before; the search begins near its remaining part.
    """
    started_s = time.monotonic()
    seeds = rng.integers(2**63, size=config.caution.futures).tolist()
    imagination = Imagination(world, moment, goal, elapsed_steps, config.caution, seeds)
    state = moment.measured[-1]
    belief = search.begin(knots.size, None if last is None else knots.shifted(last.parameters))
    best: tuple[float, Float64Array] | None = None
    iterations = 0
    while iterations < config.iterations and not (iterations and _is_over(config, started_s)):
        tried = search.sample(belief, config.samples, rng)
        worth = imagination.worth(knots.chunks(tried, state))
        belief = search.update(belief, tried, worth)
        leader = int(worth.argmax())
        if best is None or worth[leader] > best[0]:
            best = float(worth[leader]), tried[leader]
        iterations += 1
    assert best is not None, "the first iteration always runs"
    value, parameters = best
    return Plan(knots.chunks(parameters[None], state)[0], parameters, value, iterations, imagination.clips)


def _is_over(config: PlannerConfig, started_s: float) -> bool:
    return config.budget_ms is not None and 1000 * (time.monotonic() - started_s) >= config.budget_ms
