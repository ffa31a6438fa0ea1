"""What is measured of each setting of the dial: time, closed loops, and agreement with the reference world."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, Literal

import numpy as np
from tqdm import tqdm

from docs.studies.dial_settings import Setting
from docs.studies.loop_scores import score_loops
from hwm_env.checkpoint import Checkpoint
from hwm_env.envs.world import World
from hwm_env.evaluation.intervals import success_estimate
from hwm_env.evaluation.policies.agreement import agreement
from hwm_env.evaluation.policies.painted_world import PaintedWorld
from hwm_env.evaluation.policies.trials import make_cases, play
from hwm_env.evaluation.worlds.closed_loops import run_closed_loops
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.simulator import WorldSimulator
from hwm_env.types import Float64Array
from policies.experts.expert import Expert, graded_experts

LOOP_STEPS: Final = (5, 10, 20)
"""Env steps after which closed loops are compared with the truth."""
WORLDS: Final = 8
"""Worlds of a batch whose time is measured."""

Rewards = Literal["network", "localiser"]
"""What reads rewards from predicted pictures, see `PaintedWorld`."""


def time_settings(checkpoint: Checkpoint, settings: Sequence[Setting], rounds: int) -> dict[str, dict[str, float]]:
    """Measures env steps. The settings take turns, so that other work on the machine slows all of them down.

    Args:
        checkpoint: checkpoint to simulate.
        settings: what is compared.
        rounds: how often each takes its turn, after a round that is not counted.

    Returns:
        By the name of a setting, the milliseconds of an env step of one world, best of the rounds: `frames`, one world
        with all of its frames; `pixels`, a batch of WORLDS worlds with their last frames, divided by their number;
        `tokens`, the same without frames.
    """
    steps = {setting.name: _timed_step(setting.simulator(checkpoint)) for setting in settings}
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    for _ in tqdm(range(1 + rounds), desc="time", unit="round"):
        for name, step in steps.items():
            measured[name].append(step())
    # The first round includes conversions and compilations.
    return {
        name: {kind: min(times[kind] for times in of_setting[1:]) for kind in of_setting[0]}
        for name, of_setting in measured.items()
    }


def _timed_step(simulator: WorldSimulator) -> Callable[[], dict[str, float]]:
    """Returns a function that takes the first env steps of an episode, and returns their times; see `time_settings`."""
    starts = simulator.checkpoint.starts
    rows = [row % len(starts) for row in range(WORLDS)]
    many, one = simulator.reset(rows, rows), simulator.reset(rows[:1], rows[:1])
    chunks = starts.actions[rows, -1]

    def step() -> dict[str, float]:
        began_s = time.perf_counter()
        _, clip = simulator.step(many, chunks)
        predicted_s = time.perf_counter()
        for row in range(WORLDS):
            clip.last_frame_of(row)
        shown_s = time.perf_counter()
        _ = simulator.step(one, chunks[:1])[1].frames
        ended_s = time.perf_counter()
        return {
            "frames": 1e3 * (ended_s - shown_s),
            "pixels": 1e3 * (shown_s - began_s) / WORLDS,
            "tokens": 1e3 * (predicted_s - began_s) / WORLDS,
        }

    return step


def score_setting(simulator: WorldSimulator, held_out: HeldOut, poses: Any) -> list[list[float]]:
    """Runs a closed loop for each held-out episode.

    Args:
        simulator: predicts and decodes the clips.
        held_out: E episodes of at least 9 + max(LOOP_STEPS) clips.
        poses: where the loops begin, float [E, 3], equal for all settings, since localisation does not depend on them;
            `None` without a scene.

    Returns:
        PSNR in dB after each of LOOP_STEPS, [E][K].
    """
    predicted = run_closed_loops(simulator, held_out, max(LOOP_STEPS), 0, poses).tokens
    scores: list[list[float]] = score_loops(simulator.tokenizer, held_out, predicted, LOOP_STEPS).tolist()
    return scores


def chosen_experts(task: str, count: int) -> list[Expert]:
    """Returns up to `count` of a task's graded experts, evenly spread from the perfect to the worst one."""
    graded = graded_experts(task)
    return [graded[index] for index in np.linspace(0, len(graded) - 1, min(count, len(graded))).round().astype(int)]


def play_experts(
    world: World[Any], tasks: Sequence[str], *, experts: int, starts: int, max_steps: int
) -> dict[str, list[list[bool]]]:
    """Plays graded experts from the same starts in each world.

    Returns:
        By task, whether each trial succeeded, [experts][starts].
    """
    cases = make_cases(starts, len(world.checkpoint.starts), 0)
    return {
        task: [
            [trial.success for trial in play(world, expert, task, cases, max_steps)]
            for expert in tqdm(chosen_experts(task, experts), desc=task, unit="policy")
        ]
        for task in tasks
    }


def seen_by(simulator: WorldSimulator, rewards: Rewards) -> World[Any]:
    """Returns the learned world whose rewards come from what its predicted pictures show.

    Rewards from the carried pose would not depend on the dial: neither localisation nor odometry does.
    """
    return PaintedWorld(simulator, rewards)


def compare_success(
    true: Mapping[str, Sequence[Sequence[bool]]], learned: Mapping[str, Sequence[Sequence[bool]]]
) -> dict[str, dict[str, Any]]:
    """Compares successes in the reference world with those in a learned one.

    Returns:
        By task: `pearson` and `mmrv`, each with its measured `value` and the noise-corrected `over_starts` (see
        `Agreement`; all experts are of one family, so there is no interval over other families); `bias` likewise; and
        the success rates `true` and `learned` of all trials, with Wilson's intervals.
    """
    return {task: _compare(_table(true[task]), _table(learned[task])) for task in true}


def _compare(true: Float64Array, learned: Float64Array) -> dict[str, Any]:
    measures = agreement(true, learned, ["experts"] * len(true))
    report: dict[str, Any] = {
        name: {"value": measures[name].value, "over_starts": asdict(measures[name].over_starts)}
        for name in ("pearson", "mmrv", "bias")
    }
    for name, table in (("true", true), ("learned", learned)):
        report[name] = asdict(success_estimate(int(table.sum()), table.size))
    return report


def _table(successes: Sequence[Sequence[bool]]) -> Float64Array:
    return np.array(successes, np.float64)
