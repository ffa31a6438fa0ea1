"""Measures how far results in the learned world agree with true ones, for scripted and independently trained policies.

python -m docs.studies.agreement --json docs/results/agreement.json --csv docs/results/agreement.csv
"""

import logging
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from docs.studies.reward_sources import side_by_side, write_side_by_side
from docs.studies.stamps import stamp_of
from hwm_env.arguments import parse_config
from hwm_env.checkpoint import Checkpoint, load
from hwm_env.data.files import write_json
from hwm_env.errors import exit_with_one_line
from hwm_env.evaluation.policies.evaluation import EvaluationConfig, evaluate
from hwm_env.evaluation.policies.player import LearnedAs
from hwm_env.evaluation.policies.trial_log import TrialLog
from hwm_env.evaluation.reports.policy_tables import write_policies
from hwm_env.fields import CheckedFields, Count, CountOrZero
from policies.train import TrainingRun, train

EXPERTS: Final = "policies.experts.expert:graded_experts"
ENVS: Final[dict[str, Literal["HWM-v0", "HWMReference-v0"]]] = {"learned": "HWM-v0", "true": "HWMReference-v0"}
PPO_STEPS: Final = (65_536, 32_768, 16_384, 8_192, 4_096)
"""Env steps of the PPO trainings in each world, each with its own seed: from converged to hardly begun."""
SAC_STEPS: Final = (8_192, 4_096, 2_048)
"""The same for SAC."""
PICTURE_STEPS: Final = (32_768, 24_576, 16_384, 12_288, 8_192, 6_144, 4_096, 2_048)
"""Env steps of the trainings, in the reference world, of policies that see pictures alone."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study(CheckedFields):
    """Compares results of graded experts and of independent trainings in both worlds."""

    out: Path = Path("out/agreement")
    """Directory for policies and trials; finished ones are not repeated."""
    json: Path | None = None
    """JSON file for the report."""
    csv: Path | None = None
    """CSV file for the results of each policy, of rewards from the carried pose; the task is put into its name."""
    rewards_csv: Path | None = None
    """CSV file for the success of each policy by source of rewards, side by side, from the starts that all share."""
    checkpoint: str = "room-64"
    """The learned world."""
    tasks: tuple[str, ...] = ("face-target", "drive-to-target", "look-at", "reach-cube")
    """Names of tasks for policies that see the robot's joints and the goal."""
    picture_tasks: tuple[str, ...] = ("face-target:door", "drive-to-target:door", "look-at:door", "reach-cube:red")
    """Names of tasks, each about one thing, for policies that see pictures alone."""
    rewards: tuple[LearnedAs, ...] = ("poses", "localiser", "network", "seen")
    """What plays as the learned world, and where its rewards come from, see `hwm-env evaluate --learned-as`."""
    picture_rewards: tuple[LearnedAs, ...] = ("carried", "localiser")
    """The same for policies that see pictures alone."""
    starts: Count = 100
    """Paired starts with rewards from the carried pose."""
    learned_starts: Count = 4_000
    """Episodes of each policy in the learned world with rewards from the carried pose, which cost little, a
    multiple of `starts`: how many true trials they replace."""
    picture_starts: Count = 30
    """Paired starts where pictures are predicted, which takes much longer."""
    max_steps: Count = 20
    """Env steps until truncation."""
    num_envs: Count = 64
    """Worlds of a training, side by side."""
    shorten: CountOrZero = 0
    """Halvings of the trainings' lengths, for a trial."""


def run(study: Study) -> dict[str, dict[str, Any]]:
    """Trains and judges the policies.

    Returns:
        By task and source of rewards, the report of `evaluate` on that task.
    """
    checkpoint = load(study.checkpoint)
    return {task: _of_task(study, task, checkpoint) for task in (*study.tasks, *study.picture_tasks)}


def _of_task(study: Study, task: str, checkpoint: Checkpoint) -> dict[str, Any]:
    sees_pictures = task in study.picture_tasks
    zips = [str(_trained(training)) for training in trainings(study, task)]
    policies = zips if sees_pictures else [EXPERTS, *zips]
    reports: dict[str, Any] = {}
    for rewards in study.picture_rewards if sees_pictures else study.rewards:
        logger.info("%s, rewards: %s", task, rewards)
        is_blind = rewards == "poses"
        config = EvaluationConfig(
            policies=tuple(policies),
            tasks=(task,),
            starts=study.starts if is_blind else study.picture_starts,
            learned_starts=study.learned_starts if is_blind else None,
            max_steps=study.max_steps,
            learned_as=rewards,
        )
        csv = study.csv if is_blind else None
        writers = [] if csv is None else [partial(write_policies, file=csv.with_name(f"{csv.stem}-{task}{csv.suffix}"))]
        report = evaluate(checkpoint, config, study.out / f"{task}-{rewards}", command=_command(), writers=writers)
        reports[rewards] = {"stamp": report["stamp"], **report["tasks"][task]}
    return reports


def trainings(study: Study, task: str) -> list[TrainingRun]:
    """Returns the trainings of a task, which are independent.

    Those of policies that see joints and goal are of two algorithms, several lengths, and in both worlds; those of
    policies that see pictures alone are of PPO, several lengths, and in the reference world.
    """
    if task in study.picture_tasks:
        kinds = [("ppo", "true", steps) for steps in PICTURE_STEPS]
    else:
        lengths = {"ppo": PPO_STEPS, "sac": SAC_STEPS}
        kinds = [(algo, world, steps) for algo, each in lengths.items() for steps in each for world in ENVS]
    # An update of PPO follows every 32 env steps of each world.
    shortest = 32 * study.num_envs
    return [
        TrainingRun(
            out=study.out / f"{task}-{algo}-{world}-{seed}.zip",
            algo=algo,  # type: ignore[arg-type]
            task=task,
            env=ENVS[world],
            checkpoint=study.checkpoint,
            steps=max(steps >> study.shorten, shortest),
            num_envs=study.num_envs,
            max_steps=study.max_steps,
            # No two trainings share a seed.
            seed=seed,
            observes="pixels" if task in study.picture_tasks else "state",
            pictures=task in study.picture_tasks,
            device="cpu",
        )
        for seed, (algo, world, steps) in enumerate(kinds)
    ]


def compare_rewards(study: Study, tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Compares the sources of rewards by task, see `side_by_side`.

    Args:
        study: a study that has been run.
        tasks: what `run` returned.
    """
    compared = {}
    for task, reports in tasks.items():
        logs = {rewards: TrialLog(study.out / f"{task}-{rewards}", of["stamp"]) for rewards, of in reports.items()}
        policies = next(iter(reports.values()))["policies"]
        families = {policy["name"]: policy["family"] for policy in policies}
        compared[task] = side_by_side(task, families, {rewards: log.finished for rewards, log in logs.items()})
    return compared


def _trained(training: TrainingRun) -> Path:
    # The curve is written last.
    if not training.out.with_suffix(".json").exists():
        logger.info("%s", training.out.stem)
        train(training)
    return training.out


def _command() -> str:
    return shlex.join(["python", "-m", "docs.studies.agreement", *sys.argv[1:]])


def main(study: Study) -> None:
    """Runs the study, and writes its report."""
    tasks = run(study)
    compared = compare_rewards(study, tasks)
    for task, reports in tasks.items():
        for rewards, report in reports.items():
            measures = ", ".join(f"{name} {report[name]['value']}" for name in ("pearson", "spearman", "mmrv"))
            logger.info("%s, rewards %s: %s", task, rewards, measures)
    if study.json is not None:
        stamp = stamp_of(load(study.checkpoint))
        write_json(study.json, {"command": _command(), "stamp": stamp, "tasks": tasks, "side_by_side": compared})
    if study.rewards_csv is not None:
        write_side_by_side(compared, study.rewards_csv)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with exit_with_one_line():
        main(parse_config(Study, program="python -m docs.studies.agreement"))
