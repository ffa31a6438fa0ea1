"""`hwm-env evaluate`: an evaluation of policies from the command line, in this process or spread over Ray workers."""

import os
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hwm_env.arguments import Flat
from hwm_env.checkpoint import load
from hwm_env.data.files import read_json
from hwm_env.evaluation.policies.evaluation import EvaluationConfig, WriteFiles, check_true_results, evaluate
from hwm_env.evaluation.policies.ray_workers import ray_workers
from hwm_env.evaluation.reports.policy_page import write_page
from hwm_env.evaluation.reports.policy_tables import write_pairs, write_policies
from hwm_env.fields import CheckedFields, Count
from hwm_env.reporting import PYTHON, Caller, Stamp, publish
from hwm_env.simulator import WorldSimulator


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRunConfig(CheckedFields):
    """What is evaluated, which processes play, and which files are written."""

    evaluation: Flat[EvaluationConfig]
    """What is evaluated."""
    out: Path = Path("out/evaluation")
    """Directory for the trials; the same command continues an interrupted evaluation."""
    checkpoint: str = "room-64"
    """Name or directory of the learned world."""
    tokenizer: str | None = None
    """Directory of its tokenizer, for a checkpoint that does not hold its own."""
    true_results: Path | None = None
    """JSON file with outcomes of the first starts in a world that cannot be played here, such as a real one: {"task":
    {"policy": [true, false]}}. Success rates in the learned world are corrected by them."""
    ray: str | None = None
    """Address of a Ray cluster that plays, or "local" (needs the scale extra); by default, this process plays."""
    workers: Count = 2
    """Number of Ray's processes."""
    device: str = "auto"
    """Device of the learned world in this process: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"; Ray's
    processes use the CPU."""
    json: Path | None = None
    """JSON file for the report."""
    csv: Path | None = None
    """CSV file for the results of each policy."""
    pairs: Path | None = None
    """CSV file for the difference of each two policies in both worlds."""
    page: Path | None = None
    """HTML file for the report, with plots and film strips (needs the evaluation extra)."""


def run_evaluation(config: EvaluationRunConfig, caller: Caller = PYTHON) -> dict[str, Any]:
    """Evaluates policies in the learned world, and measures how far to trust that: against the reference world.

    Policies in the current directory can be imported.

    Returns:
        The report, as `evaluate` describes it, with the common stamp added to its own.

    Raises:
        InvalidInputError: an unknown policy or task, true results of another form, or no Ray cluster.
        CheckpointError: there is no such checkpoint, or it lacks what a task needs.
        SavingError: a file cannot be written.
    """
    evaluation = config.evaluation
    if config.true_results is not None:
        results = check_true_results(read_json(config.true_results), evaluation.learned_starts or evaluation.starts)
        evaluation = replace(evaluation, true_results=results)
    # One's own policies are mostly in the current directory.
    sys.path.insert(0, os.getcwd())
    play_units = None
    if config.ray is not None:
        play_units = ray_workers(config.ray, config.checkpoint, config.tokenizer, evaluation, config.workers)
    checkpoint = load(config.checkpoint, device=config.device, tokenizer=config.tokenizer)
    writers: list[WriteFiles] = []
    if config.csv is not None:
        writers.append(partial(write_policies, file=config.csv))
    if config.pairs is not None:
        writers.append(partial(write_pairs, file=config.pairs))
    if config.page is not None:
        writers.append(partial(write_page, file=config.page))
    report = evaluate(
        checkpoint,
        evaluation,
        config.out,
        command=caller.command,
        writers=writers,
        play_units=play_units,
    )
    simulator = WorldSimulator(checkpoint)
    stamp = Stamp.of(simulator, name=config.checkpoint, episodes=evaluation.starts, caller=caller)
    report["stamp"] = asdict(stamp) | report["stamp"]
    publish(report, config.json, caller)
    return report
