"""Compares training in the learned world with training in the reference world: PPO, judged in the reference world.

python -m docs.studies.rl --json docs/results/rl.json --plot docs/images/rl.png
"""

import logging
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from docs.studies.rl_plot import plot
from hwm_env.arguments import parse_config
from hwm_env.checkpoint import Checkpoint, load
from hwm_env.data.files import read_json, write_json
from hwm_env.errors import exit_with_one_line
from hwm_env.evaluation.policies.evaluation import EvaluationConfig, evaluate
from hwm_env.fields import CheckedFields, Count, Seed
from policies.train import TrainingRun, train

ENVS: Final[dict[str, Literal["HWM-v0", "HWMReference-v0"]]] = {"learned": "HWM-v0", "true": "HWMReference-v0"}
STEPS: Final = {"face-target": 4_096, "drive-to-target": 8_192}
"""Env steps of each training."""
MAX_STEPS: Final = 20
WINDOW: Final = 25
"""Episodes whose mean is one point of a learning curve."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study(CheckedFields):
    """Compares policies that PPO trained in the learned world and in the reference world."""

    out: Path = Path("out/rl")
    """Directory for policies and trials; finished ones are not repeated."""
    json: Path | None = None
    """JSON file for the report."""
    plot: Path | None = None
    """PNG file for learning curves and results."""
    tasks: tuple[str, ...] = tuple(STEPS)
    """Names of tasks, of those that STEPS contains."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    starts: Count = 50
    """Episodes on which each policy is judged."""


def run(study: Study) -> dict[str, Any]:
    """Trains and judges the policies, and compares them.

    Returns:
        By task: `policies`, each with the world and seed of its training, its learning `curve`, and mean return and
        success in the reference world with intervals over starts; `return_ratio`, the mean return of the policies that
        were trained in the learned world, divided by that of the others.
    """
    checkpoint = load("room-64")
    return {task: _compare(study, task, checkpoint) for task in study.tasks}


def _compare(study: Study, task: str, checkpoint: Checkpoint) -> dict[str, Any]:
    zips = {(world, seed): study.out / f"{task}-{world}-{seed}.zip" for seed in study.seeds for world in ENVS}
    for (world, seed), out in zips.items():
        # The curve is written last.
        if not out.with_suffix(".json").exists():
            logger.info("%s", out.stem)
            train(TrainingRun(out=out, task=task, env=ENVS[world], steps=STEPS[task], max_steps=MAX_STEPS, seed=seed))
    references = [str(out) for out in zips.values()]
    config = EvaluationConfig(
        policies=references, tasks=[task], starts=study.starts, worlds=["true"], max_steps=MAX_STEPS
    )
    report = evaluate(checkpoint, config, study.out / f"{task}-trials", command=_command())
    judged = {policy["name"]: policy["true"] for policy in report["tasks"][task]["policies"]}
    policies = [
        {
            "trained_in": world,
            "seed": seed,
            "curve": _smoothed(read_json(out.with_suffix(".json"))["episodes"]),
            **judged[str(out.with_suffix(""))],
        }
        for (world, seed), out in zips.items()
    ]
    means = {
        world: float(np.mean([policy["return"]["value"] for policy in policies if policy["trained_in"] == world]))
        for world in ENVS
    }
    return {"steps": STEPS[task], "policies": policies, "return_ratio": means["learned"] / means["true"]}


def _smoothed(episodes: Any) -> dict[str, list[float]]:
    """Returns means over WINDOW episodes: env steps, and returns in the world of the training."""
    parts = [episodes[first : first + WINDOW] for first in range(0, len(episodes) - WINDOW + 1, WINDOW)]
    return {
        "steps": [part[-1]["steps"] for part in parts],
        "returns": [float(np.mean([episode["return"] for episode in part])) for part in parts],
    }


def _command() -> str:
    return shlex.join(["python", "-m", "docs.studies.rl", *sys.argv[1:]])


def main(study: Study) -> None:
    """Runs the study and writes its report and plot."""
    tasks = run(study)
    for task, result in tasks.items():
        logger.info("%s: %.0f %% of the return", task, 100 * result["return_ratio"])
    if study.json is not None:
        write_json(study.json, {"command": _command(), "tasks": tasks})
    if study.plot is not None:
        plot(tasks, study.plot)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with exit_with_one_line():
        main(parse_config(Study, program="python -m docs.studies.rl"))
