"""Compares training in the learned world with training in the reference world: PPO, judged in the reference world.

python -m docs.studies.rl --json docs/results/rl.json --plot docs/images/rl.png
"""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from docs.studies.rl_comparison import KINDS, Curves, compare
from docs.studies.rl_plot import plot
from docs.studies.stamps import stamp_of
from hwm_env.arguments import parse_config
from hwm_env.checkpoint import Checkpoint, load
from hwm_env.data.files import read_json, write_json
from hwm_env.errors import InvalidInputError, exit_with_one_line
from hwm_env.evaluation.policies.evaluation import EvaluationConfig, evaluate, make_stamp
from hwm_env.evaluation.policies.trial_log import TrialLog
from hwm_env.evaluation.policies.trials import Trial
from hwm_env.fields import CheckedFields, Count, Seed
from hwm_env.types import Float64Array
from policies.train import TrainingRun, described, train

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study(CheckedFields):
    """Compares policies that PPO trained in the learned world, in the reference world, and in one after the other."""

    out: Path = Path("out/rl")
    """Directory for policies and trials; finished ones are not repeated."""
    json: Path | None = None
    """JSON file for the report."""
    plot: Path | None = None
    """PNG file for learning curves and results."""
    tasks: tuple[str, ...] = ("face-target", "drive-to-target", "look-at")
    """Names of tasks."""
    seeds: tuple[Seed, ...] = (0, 1, 2, 3, 4)
    """Seeds of the trainings."""
    steps: Count = 65_536
    """Env steps of each training in one world."""
    tuning_steps: Count = 16_384
    """Env steps in the reference world after training in the learned world."""
    keep_every: Count = 4_096
    """Env steps between the policies that are judged."""
    num_envs: Count = 64
    """Worlds side by side; an update of PPO follows every 32 env steps of each."""
    max_steps: Count = 20
    """Env steps until truncation."""
    starts: Count = 100
    """Episodes on which each policy is judged."""


def run(study: Study) -> dict[str, Any]:
    """Trains and judges the policies, and compares them.

    Returns:
        By task, what `rl_comparison.compare` returns, and `stamp`, all that the trials depend on.
    """
    checkpoint = load("room-64")
    return {task: _compare(study, task, checkpoint) for task in study.tasks}


def _compare(study: Study, task: str, checkpoint: Checkpoint) -> dict[str, Any]:
    trainings = {(kind, seed): _training(study, task, kind, seed) for seed in study.seeds for kind in KINDS}
    directory = study.out / f"{task}-trials"
    config = EvaluationConfig(
        policies=[str(training.out) for training in trainings.values()],
        tasks=[task],
        starts=study.starts,
        worlds=["true"],
        max_steps=study.max_steps,
    )
    stamp = make_stamp(checkpoint, config)
    # Before the trainings: trials of another checkpoint or study are refused.
    TrialLog(directory, stamp)
    policies = {key: _trained(training) for key, training in trainings.items()}
    files = [str(study.out / policy["file"]) for of_training in policies.values() for policy in of_training]
    evaluate(checkpoint, replace(config, policies=files), directory, command=_command())
    trials = {unit.policy: trials for unit, trials in TrialLog(directory, stamp).finished.items()}
    curves = {kind: _curves([policies[kind, seed] for seed in study.seeds], study.out, trials) for kind in KINDS}
    return {"stamp": stamp, **compare(curves)}


def _curves(
    policies: Sequence[Sequence[Mapping[str, Any]]], directory: Path, trials: Mapping[str, Sequence[Trial]]
) -> Curves:
    """Gathers the results of one kind of training.

    Args:
        policies: of each seed, what `_trained` returns.
        directory: directory of their files.
        trials: by the name of a policy.
    """

    def of_each(name: str) -> Any:
        return np.array([[policy[name] for policy in of_seed] for of_seed in policies])

    def of_trials(field: str) -> Float64Array:
        names = [[str((directory / policy["file"]).with_suffix("")) for policy in of_seed] for of_seed in policies]
        return np.array([[[float(getattr(one, field)) for one in trials[name]] for name in row] for row in names])

    return Curves(
        steps=of_each("steps")[0],
        wall_seconds=of_each("wall_seconds"),
        cpu_seconds=of_each("cpu_seconds"),
        returns=of_trials("total_reward"),
        successes=of_trials("success"),
    )


def _training(study: Study, task: str, kind: str, seed: int) -> TrainingRun:
    """Describes a training; those of all kinds differ only in world, env steps and first policy."""
    return TrainingRun(
        out=study.out / f"{task}-{kind}-{seed}.zip",
        task=task,
        env="HWM-v0" if kind == "learned" else "HWMReference-v0",
        pictures=False,
        steps=study.tuning_steps if kind == "tuned" else study.steps,
        num_envs=study.num_envs,
        max_steps=study.max_steps,
        seed=seed,
        keep_every=study.keep_every,
        initial=study.out / f"{task}-learned-{seed}.zip" if kind == "tuned" else None,
    )


def _trained(training: TrainingRun) -> list[dict[str, Any]]:
    """Trains policies unless it has been done, and returns what KeptPolicies says about them.

    Raises:
        InvalidInputError: the files are those of another training.
    """
    # The description is written last.
    file = training.out.with_suffix(".json")
    if not file.exists():
        logger.info("%s", training.out.stem)
        train(training)
    content = read_json(file)
    if content["run"] != described(training):
        raise InvalidInputError(f"{file} is of a training with other arguments; choose another directory")
    policies: list[dict[str, Any]] = content["policies"]
    return policies


def _command() -> str:
    return shlex.join(["python", "-m", "docs.studies.rl", *sys.argv[1:]])


def main(study: Study) -> None:
    """Runs the study and writes its report and plot."""
    tasks = run(study)
    for task, result in tasks.items():
        for kind, one in result["results"].items():
            logger.info("%s, %s: %.0f %% of the return", task, kind, 100 * one["share"]["value"])
        logger.info("%s: %.0f true env steps saved", task, result["reached"]["saved"]["value"])
    if study.json is not None:
        write_json(study.json, {"command": _command(), "stamp": stamp_of(load("room-64")), "tasks": tasks})
    if study.plot is not None:
        plot(tasks, study.plot)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # The CPU time of one thread is what a free core takes, whatever else the machine does.
    torch.set_num_threads(1)
    with exit_with_one_line():
        main(parse_config(Study, program="python -m docs.studies.rl"))
