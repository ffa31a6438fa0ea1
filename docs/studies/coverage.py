"""Measures how often the intervals of policy evaluation hold the truth, in simulated evaluations whose truth is known.

    python -m docs.studies.coverage --json docs/results/coverage.json

An interval has an estimand of its own: over starts, the measure of the simulated policies' expected success rates; over
families, the measure for the whole population of policies, as it is measured from the same starts; over both, the
measure for the population's expected success rates. MMRV depends on the number of policies, so its population value is
the mean over sets of as many policies.
"""

import logging
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from docs.studies.simulated_policies import Scenario, draw_rates, play
from hwm_env.arguments import parse_config
from hwm_env.data.files import write_json
from hwm_env.errors import exit_with_one_line
from hwm_env.evaluation.bootstrap import Estimate, Interval, percentile_interval, resample
from hwm_env.evaluation.intervals import fisher_interval
from hwm_env.evaluation.policies.agreement import agreement
from hwm_env.evaluation.policies.measures import AGREEMENT, MEASURES
from hwm_env.fields import CheckedFields, Count, Seed
from hwm_env.types import Float64Array

SCENARIOS: Final = (
    Scenario(families=8, starts=20),
    Scenario(families=8, starts=50),
    Scenario(families=8, starts=20, rates="low", error=0.05),
    Scenario(families=24, starts=20),
    Scenario(families=24, starts=50),
    Scenario(families=24, starts=50, error=0.05),
    Scenario(families=24, starts=50, error=None),
    Scenario(families=24, starts=50, rates="low", error=0.05),
    Scenario(families=24, starts=50, rates="high"),
    Scenario(families=8, members=4, starts=50),
    Scenario(families=40, starts=100),
)
POPULATION: Final = 2_000
"""Policies that stand for the population."""
PLAYED: Final = 500
"""Policies of these that play from the starts of each evaluation."""
SETS: Final = 200
"""Sets of policies over which the population's MMRV is a mean."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study(CheckedFields):
    """Measures the coverage of intervals in simulated evaluations."""

    evaluations: Count = 200
    """Simulated evaluations of each scenario."""
    seed: Seed = 0
    """Seed of the simulation."""
    json: Path | None = None
    """JSON file for the report."""


def run(study: Study, scenarios: tuple[Scenario, ...] = SCENARIOS) -> list[dict[str, Any]]:
    """Simulates evaluations, and counts how often each interval holds its estimand.

    Returns:
        By scenario: its fields, and `intervals`: by measure and interval, `coverage` (target: 0.95), `below` and
        `above` (shares of evaluations whose truth lies below and above the interval), `holds_value` (share of intervals
        that hold the measured value) and mean `width`. `starts_percentile` is the percentile bootstrap over starts, for
        comparison; `fisher_z` has the estimand of `over_families`.
    """
    results = []
    for scenario in scenarios:
        rng = np.random.default_rng(study.seed)
        population = draw_rates(scenario, POPULATION // scenario.members, rng)
        truth = _population_values(scenario, *population, rng)
        counts: dict[tuple[str, str], list[tuple[bool, bool, bool, float]]] = {}
        for evaluation in range(study.evaluations):
            for (name, kind), outcome in _evaluate(scenario, population, truth, rng, evaluation).items():
                counts.setdefault((name, kind), []).append(outcome)
        intervals: dict[str, dict[str, Any]] = {name: {} for name in MEASURES}
        for (name, kind), outcomes in counts.items():
            below, above, holds, width = np.array(outcomes, np.float64).mean(axis=0).round(4).tolist()
            intervals[name][kind] = {
                "coverage": round(1 - below - above, 4),
                "below": below,
                "above": above,
                "holds_value": holds,
                "width": width,
            }
        results.append({"scenario": asdict(scenario), "population": truth, "intervals": intervals})
        logger.info("%s", scenario)
    return results


def _evaluate(
    scenario: Scenario,
    population: tuple[Float64Array, Float64Array],
    truth: Mapping[str, float],
    rng: np.random.Generator,
    seed: int,
) -> dict[tuple[str, str], tuple[bool, bool, bool, float]]:
    """Simulates one evaluation; returns whether each interval's truth is below or above, and more."""
    rates = draw_rates(scenario, scenario.families, rng)
    difficulty = rng.standard_normal(scenario.starts)
    true, learned = play(*rates, difficulty, rng)
    names = [str(family) for family in np.arange(scenario.families).repeat(scenario.members)]
    found = agreement(true, learned, names, seed)
    expected = {name: float(measure(*rates)) for name, measure in MEASURES.items()}
    played = play(population[0][:PLAYED], population[1][:PLAYED], difficulty, rng)
    same_starts = _population_values(scenario, played[0].mean(axis=1), played[1].mean(axis=1), rng)
    samples = resample(scenario.starts, seed)
    outcomes = {}
    for name, measure in MEASURES.items():
        one, value = found[name], found[name].value
        kinds = {
            "over_starts": (one.over_starts, expected[name]),
            "over_families": (one.over_families, same_starts[name]),
            "over_both": (one.over_both, truth[name]),
        }
        if name in AGREEMENT:
            values = measure(true[:, samples].mean(axis=2).T, learned[:, samples].mean(axis=2).T)
            kinds["starts_percentile"] = (percentile_interval(values), expected[name])
        if name in ("pearson", "spearman"):
            fisher = fisher_interval(value, scenario.families, ranks=name == "spearman")
            kinds["fisher_z"] = (fisher, same_starts[name])
        for kind, (interval, target) in kinds.items():
            if interval is not None and np.isfinite([value, interval.low]).all():
                outcomes[name, kind] = _judged(interval, target, value)
    return outcomes


def _judged(interval: Interval | Estimate, target: float, value: float) -> tuple[bool, bool, bool, float]:
    low, high = interval.low - 1e-9, interval.high + 1e-9
    return target < low, target > high, low <= value <= high, interval.high - interval.low


def _population_values(
    scenario: Scenario, true: Float64Array, learned: Float64Array, rng: np.random.Generator
) -> dict[str, float]:
    """Returns the measures of a population, from the results of its policies."""
    values = {name: float(measure(true, learned)) for name, measure in MEASURES.items() if name != "mmrv"}
    members = np.arange(len(true)).reshape(-1, scenario.members)
    sets = members[rng.integers(len(members), size=(SETS, scenario.families))].reshape(SETS, -1)
    return values | {"mmrv": float(AGREEMENT["mmrv"](true[sets], learned[sets]).mean())}


def main(study: Study) -> None:
    """Runs the study and writes its report."""
    results = run(study)
    if study.json is not None:
        command = shlex.join(["python", "-m", "docs.studies.coverage", *sys.argv[1:]])
        write_json(study.json, {"command": command, "evaluations": study.evaluations, "scenarios": results})


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with exit_with_one_line():
        main(parse_config(Study, program="python -m docs.studies.coverage"))
