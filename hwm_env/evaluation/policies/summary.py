"""Summarises trials: results by policy, agreement of the worlds, and how far their robots drift apart."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np

from hwm_env.evaluation.bootstrap import mean_estimate
from hwm_env.evaluation.intervals import success_estimate
from hwm_env.evaluation.policies.agreement_report import report_agreement, report_families, report_success
from hwm_env.evaluation.policies.player import WORLDS, Unit, WorldName
from hwm_env.evaluation.policies.prediction_powered import corrected_mean
from hwm_env.evaluation.policies.trials import Trial
from hwm_env.types import Float64Array

FEWEST_FOR_A_MEDIAN: Final = 5
"""Pairs of running episodes that a median needs; later env steps are left out."""

Finished = Mapping[Unit, Sequence[Trial]]
"""Trials of the units that have been played."""
TrueResults = Mapping[str, Mapping[str, Sequence[bool]]]
"""By task and policy, whether the first cases succeeded in a world that is not available here, such as a real one."""


class Pair(NamedTuple):
    """Two trials of one policy from the same case, one in each world."""

    policy: str
    number: int
    """Index of the case."""
    true: Trial
    learned: Trial


def task_report(
    task: str, families: Mapping[str, str], finished: Finished, true_results: TrueResults
) -> dict[str, Any]:
    """Reports on one task.

    Args:
        task: name of the task.
        families: the family of each policy by its name, in the order of the report.
        finished: all trials, with any further ones in the learned world.
        true_results: outcomes in a world that cannot be played in here.

    Returns:
        Ready for JSON. `families` and `k`: see `report_families`. `policies`: for each its name and family, the success
        rate (0..1) and return with intervals in each world, and `corrected_success` if it has true results. With both
        worlds also `horizon`: by env step, the median distance (m) and difference of heading (deg) between the robots
        of the two worlds, for episodes that succeed in the true world and for those that fail. With two or more
        policies as well, what `report_agreement` and `report_success` report on success rates, and the former on
        `returns`; `None` where it is undefined.
    """
    policies = list(families)
    trials = {
        (name, world): finished[Unit(task, name, world)]
        for name in policies
        for world in WORLDS
        if Unit(task, name, world) in finished
    }
    more = {name: _more(task, name, finished) for name in policies}
    report: dict[str, Any] = report_families(families) | {
        "policies": [
            {
                "name": name,
                "family": family,
                **{world: _results(trials[name, world]) for world in WORLDS if (name, world) in trials},
                **_corrected(trials.get((name, "learned")), more[name], true_results.get(task, {}).get(name)),
            }
            for name, family in families.items()
        ]
    }
    if all((name, world) in trials for name in policies for world in WORLDS):
        if len(policies) > 1:
            success, total = (
                {world: table_of([trials[name, world] for name in policies], field) for world in WORLDS}
                for field in ("success", "total_reward")
            )
            report |= without_nan(
                report_agreement(success["true"], success["learned"], families)
                | report_success(success["true"], success["learned"], policies, table_of(more.values(), "success"))
            )
            report["returns"] = without_nan(report_agreement(total["true"], total["learned"], families))
        pairs = pair_up(policies, trials)
        report["horizon"] = {
            "successes": _horizon([pair for pair in pairs if pair.true.success]),
            "failures": _horizon([pair for pair in pairs if not pair.true.success]),
        }
    return report


def table_of(trials: Collection[Sequence[Trial]], field: str) -> Float64Array:
    """Returns one field of each trial of P policies, [P, S]."""
    return np.array([[float(getattr(trial, field)) for trial in of_policy] for of_policy in trials])


def pair_up(policies: Sequence[str], trials: Mapping[tuple[str, WorldName], Sequence[Trial]]) -> list[Pair]:
    """Pairs the trials of both worlds by policy and case."""
    return [
        Pair(name, number, true, learned)
        for name in policies
        for number, (true, learned) in enumerate(zip(trials[name, "true"], trials[name, "learned"], strict=True))
    ]


def extremes(pairs: Sequence[Pair]) -> tuple[Pair, Pair] | None:
    """Returns the pairs with the smallest and the largest mean distance of the two robots; `None` if no robot moves."""
    apart = {
        index: float(distances.mean())
        for index, pair in enumerate(pairs)
        if len(distances := _apart(pair)[0]) and np.ptp(np.array(pair.true.poses), axis=0).max() > 0
    }
    if not apart:
        return None
    return pairs[min(apart, key=lambda index: apart[index])], pairs[max(apart, key=lambda index: apart[index])]


def _results(trials: Sequence[Trial]) -> dict[str, Any]:
    return {
        "success": asdict(success_estimate(sum(trial.success for trial in trials), len(trials))),
        "return": asdict(mean_estimate(table_of([trials], "total_reward")[0])),
        "mean_steps": float(np.mean([trial.steps for trial in trials])),
        "episodes": len(trials),
    }


def _more(task: str, policy: str, finished: Finished) -> list[Trial]:
    """Returns the trials of a policy in the learned world beyond the paired ones."""
    parts = sorted(
        (unit.part, trials)
        for unit, trials in finished.items()
        if (unit.task, unit.policy, unit.world) == (task, policy, "learned") and unit.part > 0
    )
    return [trial for _, trials in parts for trial in trials]


def _corrected(learned: Sequence[Trial] | None, more: Sequence[Trial], true: Sequence[bool] | None) -> dict[str, Any]:
    if learned is None or true is None:
        return {}
    known, outcomes = len(true), table_of([[*learned, *more]], "success")[0]
    estimate = corrected_mean(outcomes[known:], outcomes[:known], np.array(true, np.float64))
    return {"corrected_success": {**asdict(estimate), "true_trials": known}}


def without_nan(content: Any) -> Any:
    """Replaces NaN by `None`, because JSON has no NaN."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _horizon(pairs: Sequence[Pair]) -> dict[str, list[float] | list[int]]:
    """Returns medians by env step, as long as at least FEWEST_FOR_A_MEDIAN pairs run in both worlds."""
    apart = [_apart(pair) for pair in pairs]
    distances, headings, counts = [], [], []
    for step in range(max((len(distance) for distance, _ in apart), default=0)):
        running = [(distance[step], heading[step]) for distance, heading in apart if step < len(distance)]
        if len(running) < FEWEST_FOR_A_MEDIAN:
            break
        distance, heading = np.median(np.array(running), axis=0)
        distances.append(float(distance))
        headings.append(float(heading))
        counts.append(len(running))
    return {"distance_m": distances, "heading_deg": headings, "pairs": counts}


def _apart(pair: Pair) -> tuple[Float64Array, Float64Array]:
    """Returns distance (m) and difference of heading (deg) of the two robots after each env step that both take."""
    steps = min(len(pair.true.poses), len(pair.learned.poses))
    true, learned = (np.array(trial.poses[:steps]).reshape(steps, 3) for trial in (pair.true, pair.learned))
    turn = true[:, 2] - learned[:, 2]
    turn = np.abs(np.degrees(np.arctan2(np.sin(turn), np.cos(turn))))
    return np.hypot(*(true - learned)[:, :2].T), turn
