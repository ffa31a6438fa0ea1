"""What an evaluation of policies says: results by policy, agreement of the worlds, and where they part."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np

from hwm_env.evaluation.policies.agreement import agreement, corrected_mean, mean_estimate
from hwm_env.evaluation.policies.player import WORLDS, Unit, WorldName
from hwm_env.evaluation.policies.trials import Trial
from hwm_env.types import Float64Array

FEWEST_FOR_A_MEDIAN: Final = 5
"""Pairs of episodes that still run: fewer say nothing about a step."""

Finished = Mapping[Unit, Sequence[Trial]]
TrueResults = Mapping[str, Mapping[str, Sequence[bool]]]
"""By task and policy: whether the first cases succeeded in a world that we cannot play in, such as a real one."""


class Pair(NamedTuple):
    """The same case in both worlds."""

    policy: str
    number: int
    """Of the case."""
    true: Trial
    learned: Trial


def task_report(task: str, policies: Sequence[str], finished: Finished, true_results: TrueResults) -> dict[str, Any]:
    """Everything about one task.

    Args:
        task: its name.
        policies: names, in the order of the report.
        finished: all trials.
        true_results: those from elsewhere.

    Returns:
        `policies`: name, and for each world success rate and return with intervals; `corrected_success`, where there
        are true results from elsewhere. With both worlds: `pearson`, `spearman` and `mmrv` of success rates (None where
        one world tells no policies apart), the same of `returns`, and `horizon`, by env step: how far the two worlds'
        robots are apart, where the true one succeeds and where it fails.
    """
    trials = {
        (name, world): finished[Unit(task, name, world)]
        for name in policies
        for world in WORLDS
        if Unit(task, name, world) in finished
    }
    report: dict[str, Any] = {
        "policies": [
            {
                "name": name,
                **{world: _results(trials[name, world]) for world in WORLDS if (name, world) in trials},
                **_corrected(trials.get((name, "learned")), true_results.get(task, {}).get(name)),
            }
            for name in policies
        ]
    }
    if all((name, world) in trials for name in policies for world in WORLDS):
        successes, returns = (
            {world: _table([trials[name, world] for name in policies], field) for world in WORLDS}
            for field in ("success", "total_reward")
        )
        if len(policies) > 1:
            report |= _agreement(successes) | {"returns": _agreement(returns)}
        pairs = pair_up(policies, trials)
        report["horizon"] = {
            "successes": _horizon([pair for pair in pairs if pair.true.success]),
            "failures": _horizon([pair for pair in pairs if not pair.true.success]),
        }
    return report


def pair_up(policies: Sequence[str], trials: Mapping[tuple[str, WorldName], Sequence[Trial]]) -> list[Pair]:
    """All trials of both worlds, side by side."""
    return [
        Pair(name, number, true, learned)
        for name in policies
        for number, (true, learned) in enumerate(zip(trials[name, "true"], trials[name, "learned"], strict=True))
    ]


def extremes(pairs: Sequence[Pair]) -> tuple[Pair, Pair] | None:
    """The most and the least faithful of the pairs that move: by the mean distance of the two robots; None without."""
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
        "success": asdict(mean_estimate(_table([trials], "success")[0])),
        "return": asdict(mean_estimate(_table([trials], "total_reward")[0])),
        "mean_steps": float(np.mean([trial.steps for trial in trials])),
        "episodes": len(trials),
    }


def _corrected(learned: Sequence[Trial] | None, true: Sequence[bool] | None) -> dict[str, Any]:
    if learned is None or true is None:
        return {}
    known, outcomes = len(true), _table([learned], "success")[0]
    estimate = corrected_mean(outcomes[known:], outcomes[:known], np.array(true, np.float64))
    return {"corrected_success": {**asdict(estimate), "true_trials": known}}


def _table(trials: Sequence[Sequence[Trial]], field: str) -> Float64Array:
    """A number of each trial, [P, S]."""
    return np.array([[float(getattr(trial, field)) for trial in row] for row in trials])


def _agreement(results: Mapping[WorldName, Float64Array]) -> dict[str, Any]:
    estimates = agreement(results["true"], results["learned"])
    # JSON has no NaN: a correlation that does not exist is null.
    return {
        name: {key: value if math.isfinite(value) else None for key, value in asdict(estimate).items()}
        for name, estimate in estimates.items()
    }


def _horizon(pairs: Sequence[Pair]) -> dict[str, list[float] | list[int]]:
    """Medians by env step, as long as at least FEWEST_FOR_A_MEDIAN pairs of episodes run in both worlds."""
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
    """Metres and degrees between the two robots, after each env step that both take."""
    steps = min(len(pair.true.poses), len(pair.learned.poses))
    true, learned = (np.array(trial.poses[:steps]).reshape(steps, 3) for trial in (pair.true, pair.learned))
    turn = true[:, 2] - learned[:, 2]
    turn = np.abs(np.degrees(np.arctan2(np.sin(turn), np.cos(turn))))
    return np.hypot(*(true - learned)[:, :2].T), turn
