"""A planner: searches for the plan of a few env steps that is worth most in a world."""

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
    """How much a planner thinks."""

    horizon: Count = 3
    """Env steps that it looks ahead."""
    knots: Count = 1
    """Targets that a plan has in that time."""
    samples: Annotated[Count, Ge(2)] = 16
    """Plans an iteration."""
    iterations: Count = 2
    """At most."""
    budget_ms: Positive | None = None
    """After so long no further iteration begins; the first always runs. None: all do."""
    caution: Caution = field(default_factory=Caution)
    """How it weighs what it is not sure of."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a planner came to."""

    chunks: Float32Array
    """Actions of the next env steps, physical units, [horizon, 17, 25]."""
    parameters: Float64Array
    """The same as the knots' targets, [size]."""
    worth: float
    """What it was found to be worth."""
    iterations: int
    """How often the planner improved on it."""
    clips: int
    """How many clips were imagined."""


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
    """The best plan that was found.

    Args:
        world: in which plans are imagined.
        moment: the present, in this world.
        goal: what rewards them.
        elapsed_steps: env steps of the episode so far.
        knots: what plans are.
        search: how better ones are found.
        config: how long.
        rng: the source of all noise.
        last: the plan of the env step before; the search begins near what was left of it.
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
