"""Measures the fidelity dial: what a setting of the learned world costs in time, and what it gains in truth.

    python -m docs.studies.dial --json docs/results/dial.json --csv docs/results/dial.csv --plot docs/images/dial.png

The carried pose does not depend on the dial, and neither do rewards, planners and trainings that use it alone: they
predict no pictures. What depends on the dial is the pictures, and rewards that are read from them.
"""

import csv
import hashlib
import io
import logging
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from docs.studies.dial_choice import losses_db, pareto_front, recommend
from docs.studies.dial_measures import (
    LOOP_STEPS,
    WORLDS,
    Rewards,
    compare_success,
    play_experts,
    score_setting,
    seen_by,
    time_settings,
)
from docs.studies.dial_plot import plot
from docs.studies.dial_settings import Setting, default_setting, settings_of
from docs.studies.finished_parts import FinishedParts
from docs.studies.loop_scores import held_out_episodes, tokenizer_ceiling
from docs.studies.stamps import stamp_of
from hwm_env.arguments import parse_config
from hwm_env.checkpoint import Checkpoint, load
from hwm_env.data.files import write_bytes, write_json
from hwm_env.engine.base import Backend
from hwm_env.errors import exit_with_one_line
from hwm_env.evaluation.policies.summary import without_nan
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.localisation import locate_starts
from hwm_env.fields import CheckedFields, Count, CountOrZero
from hwm_env.simulator import WorldSimulator
from hwm_env.types import Float64Array

TIMES: Final = ("frames", "pixels", "tokens")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study(CheckedFields):
    """Compares settings of the learned world by time, closed loops and agreement with the reference world."""

    out: Path = Path("out/dial")
    """Directory for held-out episodes and finished parts, which are not repeated."""
    json: Path | None = None
    """JSON file for the report."""
    csv: Path | None = None
    """CSV file with a line for each setting."""
    plot: Path | None = None
    """PNG file: time against fidelity."""
    checkpoint: str = "room-64"
    """The learned world."""
    decoding_steps: tuple[CountOrZero, ...] = (0, 1, 2, 4, 8)
    """Decoding steps, besides those of the checkpoint; 0: the scene alone predicts."""
    backends: tuple[Backend, ...] = ("torch", "openvino")
    """What computes; OpenVINO is left out where it is not installed."""
    rounds: Count = 7
    """Rounds in which the settings take turns to be timed."""
    episodes: Count = 24
    """Held-out episodes, each the beginning of a closed loop."""
    tasks: tuple[str, ...] = ("face-target", "drive-to-target")
    """Names of tasks on which the worlds are compared."""
    experts: Count = 8
    """Graded experts that play each task."""
    starts: Count = 16
    """Paired episodes of each expert."""
    max_steps: Count = 20
    """Env steps until truncation."""
    rewards: Rewards = "network"
    """What reads rewards from predicted pictures: the read-out network, or the localiser, which takes much longer."""


def run(study: Study) -> dict[str, Any]:
    """Measures what has not been measured yet, and reports.

    Returns:
        Ready for JSON. `default`: name of the default setting. `ceiling_db`: PSNR of recorded clips, encoded and
        decoded, by env step. `settings`: for each its parts; `ms`, see `time_settings`; `times_as_fast` as the default
        by each of these times; `psnr_db` of closed loops by env step; `loss_db` of their mean against the best setting;
        and `agreement`, see `compare_success`, for the default and settings that differ from it in one part, else
        `None`. `pareto`: by kind of time, the settings that no other one beats. `recommended`: see `recommend`.
    """
    checkpoint = load(study.checkpoint)
    settings, default = settings_of(checkpoint, study.decoding_steps, study.backends), default_setting(checkpoint)
    parts = FinishedParts(study.out, _stamp(study, checkpoint))
    held_out = held_out_episodes(checkpoint, study.out, study.episodes, max(LOOP_STEPS))
    scores = _scores(parts, checkpoint, settings, held_out)
    agreements = _agreements(study, parts, checkpoint, [s for s in settings if s.differences(default) <= 1])
    names = [setting.name for setting in settings]
    logger.info("times")
    # All settings together, since only times of one run can be compared.
    of_these = hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]
    ms = parts.get(f"times-{of_these}", lambda: time_settings(checkpoint, settings, study.rounds))
    fidelity_db = {name: float(of_setting.mean()) for name, of_setting in scores.items()}
    losses = losses_db(scores)
    return {
        "default": default.name,
        "ceiling_db": _by_step(tokenizer_ceiling(held_out, checkpoint.tokenizer, LOOP_STEPS)),
        "settings": [
            {
                "name": setting.name,
                **asdict(setting),
                "ms": ms[setting.name],
                "times_as_fast": {kind: ms[default.name][kind] / ms[setting.name][kind] for kind in TIMES},
                "psnr_db": _by_step(scores[setting.name]),
                "loss_db": asdict(losses[setting.name]),
                "agreement": agreements.get(setting.name),
            }
            for setting in settings
        ],
        "pareto": {kind: pareto_front({name: ms[name][kind] for name in names}, fidelity_db) for kind in TIMES},
        "recommended": recommend(ms, losses, default.name),
    }


def _scores(
    parts: FinishedParts, checkpoint: Checkpoint, settings: list[Setting], held_out: HeldOut
) -> dict[str, Float64Array]:
    """Returns PSNR of each setting's closed loops, [E, K]."""

    def located() -> list[list[float]] | None:
        starts = locate_starts(WorldSimulator(checkpoint), held_out)
        # JSON has no NaN, which stands for an unknown pose.
        return None if starts is None else without_nan(starts.poses.tolist())

    known = parts.get("poses", located)
    poses = None if known is None else torch.tensor(np.array(known, np.float32))
    scores = {}
    for setting in settings:
        logger.info("%s: closed loops", setting.name)

        def measured(setting: Setting = setting) -> list[list[float]]:
            return score_setting(setting.simulator(checkpoint), held_out, poses)

        scored = parts.get(f"loops-{setting.name}", measured)
        scores[setting.name] = np.array(scored, np.float64)
    return scores


def _agreements(
    study: Study, parts: FinishedParts, checkpoint: Checkpoint, settings: list[Setting]
) -> dict[str, dict[str, Any]]:
    """Returns the agreement of each setting with the reference world."""
    sizes = {"experts": study.experts, "starts": study.starts, "max_steps": study.max_steps}

    def in_reference_world() -> dict[str, list[list[bool]]]:
        from hwm_env.envs.ground_truth import ReferenceGroundTruth

        world = ReferenceGroundTruth(checkpoint)
        try:
            return play_experts(world, study.tasks, **sizes)
        finally:
            world.close()

    true = parts.get("success-true", in_reference_world)
    agreements = {}
    for setting in settings:
        logger.info("%s: agreement", setting.name)

        def in_learned_world(setting: Setting = setting) -> dict[str, list[list[bool]]]:
            return play_experts(seen_by(setting.simulator(checkpoint), study.rewards), study.tasks, **sizes)

        learned = parts.get(f"success-{setting.name}", in_learned_world)
        agreements[setting.name] = without_nan(compare_success(true, learned))
    return agreements


def _stamp(study: Study, checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns all that the parts depend on, but for the settings, which their names tell."""
    sizes = {name: getattr(study, name) for name in ("episodes", "tasks", "experts", "starts", "max_steps", "rewards")}
    return {
        **stamp_of(checkpoint),
        "decoding": asdict(checkpoint.decoding),
        "rounds": study.rounds,
        "worlds": WORLDS,
        "threads": torch.get_num_threads(),
        **sizes,
    }


def _by_step(scores: Float64Array) -> dict[str, float]:
    return {str(step): float(value) for step, value in zip(LOOP_STEPS, scores.mean(axis=0), strict=True)}


def _lines(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a line of the CSV file for each setting."""
    for each in report["settings"]:
        line = {name: each[name] for name in ("name", "backend", "precision", "history", "steps")}
        line |= {f"{kind}_ms": each["ms"][kind] for kind in TIMES}
        line |= {f"{kind}_times_as_fast": each["times_as_fast"][kind] for kind in TIMES}
        line |= {f"psnr_{step}_db": value for step, value in each["psnr_db"].items()}
        line |= {
            f"loss_db{end}": each["loss_db"][of] for end, of in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        for task, compared in (each["agreement"] or {}).items():
            line |= {f"{task}_{name}": compared[name]["value"] for name in ("pearson", "mmrv", "bias")}
        yield line


def _write_csv(report: Mapping[str, Any], file: Path) -> None:
    # The default comes first, and has all columns.
    lines, text = list(_lines(report)), io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_bytes(file, text.getvalue().encode())


def _command() -> str:
    return shlex.join(["python", "-m", "docs.studies.dial", *sys.argv[1:]])


def main(study: Study) -> None:
    """Runs the study, and writes its report, table and plot."""
    report = run(study)
    for use, chosen in report["recommended"].items():
        logger.info(
            "%s: %s, %.1f ms a step (%s), %.2f times as fast as the default, %.2f dB below the best",
            use,
            chosen["setting"],
            chosen["ms"],
            chosen["time"],
            chosen["times_as_fast"],
            chosen["loss_db"]["value"],
        )
    if study.json is not None:
        write_json(study.json, {"command": _command(), "stamp": _stamp(study, load(study.checkpoint)), **report})
    if study.csv is not None:
        _write_csv(report, study.csv)
    if study.plot is not None:
        plot(report, study.plot)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # One thread on one core: its times are what planners and trainings, which fill the cores, pay for a step.
    torch.set_num_threads(1)
    with exit_with_one_line():
        main(parse_config(Study, program="python -m docs.studies.dial"))
