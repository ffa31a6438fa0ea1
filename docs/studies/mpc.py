"""Compares planning in the learned world with the oracle, which plans in the reference world itself.

python -m docs.studies.mpc --json docs/results/mpc.json --plot docs/images/mpc.png
"""

import logging
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from docs.studies.mpc_plot import plot
from docs.studies.ratios import ratio_estimate
from docs.studies.stamps import stamp_of
from docs.studies.traced_mpc import Planned, TracedMPC
from hwm_env.arguments import parse_config
from hwm_env.checkpoint import Checkpoint, load
from hwm_env.data.files import read_json, write_json
from hwm_env.envs.ground_truth import ReferenceGroundTruth
from hwm_env.envs.pose_world import PoseWorld
from hwm_env.envs.world import World
from hwm_env.errors import exit_with_one_line
from hwm_env.evaluation.bootstrap import mean_estimate
from hwm_env.evaluation.intervals import success_estimate
from hwm_env.evaluation.policies.painted_world import PaintedWorld
from hwm_env.evaluation.policies.trials import Case, make_cases, play
from hwm_env.fields import CheckedFields, Count
from hwm_env.simulator import WorldSimulator
from policies.planners.planner import PlannerConfig

MAX_STEPS: Final = 20
SMALL: Final = PlannerConfig(horizon=3, knots=1, samples=16, iterations=2)
MEDIUM: Final = PlannerConfig(horizon=6, knots=2, samples=32, iterations=2)
LARGE: Final = PlannerConfig(horizon=8, knots=4, samples=256, iterations=4)
PLANNERS: Final[dict[str, tuple[PlannerConfig, ...]]] = {
    "oracle": (SMALL, MEDIUM),
    "poses": (SMALL, MEDIUM, LARGE),
    "pictures": (SMALL,),
}
"""Budgets by where plans are tried: in the reference world; by the learned world's carried pose alone; or in the
learned world, with rewards from what the read-out network sees in its pictures, which the scene alone predicts (0
decoding steps). All plans are carried out in the reference world."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study(CheckedFields):
    """Compares planners, and shows where imagined and true poses part."""

    out: Path = Path("out/mpc")
    """Directory for finished parts, which are not repeated."""
    json: Path | None = None
    """JSON file for the report."""
    plot: Path | None = None
    """PNG file: success against budget, and imagined against true poses."""
    checkpoint: str = "room-64"
    """The learned world."""
    tasks: tuple[str, ...] = ("face-target", "drive-to-target", "look-at", "reach-cube")
    """Names of tasks."""
    planners: tuple[str, ...] = tuple(PLANNERS)
    """Of those that PLANNERS contains."""
    starts: Count = 100
    """Paired episodes of each planner."""


def run(study: Study) -> dict[str, list[dict[str, Any]]]:
    """Plays what has not been played yet, and reports.

    Returns:
        By task, for each planner and budget: `planner`, `budget`, `clips` (a plan), `seconds` (median a plan, on this
        machine), `success` and `return` with intervals over the starts, `share` of the oracle's success at the same
        budget (or its largest below) with an interval over paired starts, and `gap_m` and `gap_deg`: median and 90th
        percentile of the difference between the pose that a plan imagines after its first chunk and the true one, for
        episodes that succeed and those that fail.
    """
    checkpoint = load(study.checkpoint)
    cases = make_cases(study.starts, len(checkpoint.starts), 0)
    return {task: _of_task(study, task, checkpoint, cases) for task in study.tasks}


def _of_task(study: Study, task: str, checkpoint: Checkpoint, cases: list[Case]) -> list[dict[str, Any]]:
    played = {
        (planner, config): _played(study, task, planner, config, checkpoint, cases)
        for planner in study.planners
        for config in PLANNERS[planner]
    }
    rows = []
    for (planner, config), result in played.items():
        success = np.array(result["success"], np.float64)
        row = {
            "planner": planner,
            "budget": {name: getattr(config, name) for name in ("horizon", "knots", "samples", "iterations")},
            "clips": config.horizon * config.samples * config.iterations,
            "seconds": float(np.median([plan["seconds"] for plan in result["plans"]])),
            "success": asdict(success_estimate(int(success.sum()), len(success))),
            "return": asdict(mean_estimate(np.array(result["return"]))),
            "gaps": {
                "succeeded": _gaps(result, wanted=True),
                "failed": _gaps(result, wanted=False),
            },
        }
        oracle = played.get(("oracle", config)) or played.get(("oracle", PLANNERS["oracle"][-1]))
        if oracle is not None and planner != "oracle":
            row["share"] = ratio_estimate(success, np.array(oracle["success"], np.float64))
        rows.append(row)
    return rows


def _played(
    study: Study, task: str, planner: str, config: PlannerConfig, checkpoint: Checkpoint, cases: list[Case]
) -> dict[str, Any]:
    """Returns successes and returns of the episodes and their plans, from a file if they have been played before."""
    budget = f"{config.horizon}x{config.knots}x{config.samples}x{config.iterations}"
    path = study.out / f"{task}-{planner}-{budget}-{len(cases)}-{checkpoint.identity}.json"
    if not path.exists():
        logger.info("%s: %s, %s", task, planner, budget)
        world = ReferenceGroundTruth(checkpoint)
        policy = TracedMPC(task, "icem", _imagination(planner, checkpoint), config)
        trials = play(world, policy, task, cases, MAX_STEPS)
        world.close()
        content = {
            "success": [trial.success for trial in trials],
            "return": [trial.total_reward for trial in trials],
            "plans": [asdict(plan) for plan in policy.planned],
        }
        write_json(path, content)
    return dict(read_json(path))


def _imagination(planner: str, checkpoint: Checkpoint) -> World[Any] | None:
    """Returns the world in which plans are tried; `None`: where they are carried out."""
    if planner == "oracle":
        return None
    if planner == "poses":
        return PoseWorld(WorldSimulator(checkpoint))
    return PaintedWorld(WorldSimulator(checkpoint, replace(checkpoint.decoding, steps=0)), "network")


def _gaps(result: Mapping[str, Any], *, wanted: bool) -> dict[str, Any] | None:
    """Returns percentiles of the gaps of plans in episodes that succeeded, or failed; `None` without any."""
    plans = [Planned(**plan) for plan in result["plans"]]
    known = [plan for plan in plans if plan.gap_m is not None and result["success"][plan.row] == wanted]
    if not known:
        return None
    metres, degrees = (np.array([getattr(plan, name) for plan in known]) for name in ("gap_m", "gap_deg"))
    return {
        "plans": len(known),
        "gap_m": np.quantile(metres, [0.5, 0.9]).round(4).tolist(),
        "gap_deg": np.quantile(degrees, [0.5, 0.9]).round(3).tolist(),
    }


def _command() -> str:
    return shlex.join(["python", "-m", "docs.studies.mpc", *sys.argv[1:]])


def main(study: Study) -> None:
    """Runs the study, and writes its report and plot."""
    tasks = run(study)
    for task, rows in tasks.items():
        for row in rows:
            share = f", {row['share']['value']:.0%} of the oracle's" if "share" in row else ""
            logger.info(
                "%s, %s, %d clips a plan, %.2f s: success %.2f%s",
                task,
                row["planner"],
                row["clips"],
                row["seconds"],
                row["success"]["value"],
                share,
            )
    if study.json is not None:
        write_json(study.json, {"command": _command(), "stamp": stamp_of(load(study.checkpoint)), "tasks": tasks})
    if study.plot is not None:
        plot(tasks, study.plot)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with exit_with_one_line():
        main(parse_config(Study, program="python -m docs.studies.mpc"))
