"""`hwm-env train-readout`: a read-out for a checkpoint."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hwm_env.arguments import CheckpointArgument, DataArgument, Flat
from hwm_env.checkpoint import load, resolve, save
from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.devices import check_device
from hwm_env.evaluation.worlds.held_out import check_reference, record_held_out
from hwm_env.evaluation.worlds.readout_error import CLOSED_LOOP_STEPS, measure_held_out
from hwm_env.fields import CheckedFields, CountOrZero
from hwm_env.reporting import PYTHON, Caller, publish
from hwm_env.simulator import WorldSimulator
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.training.assemble import with_readout
from hwm_env.training.readout.train import ReadoutTrainingConfig, judge_readout, train_readout
from hwm_env.types import HISTORY_CLIPS


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadoutRunConfig(CheckedFields):
    """Checkpoint, data and recipe of a read-out's training."""

    checkpoint: CheckpointArgument
    """Directory of the checkpoint, which receives the read-out."""
    data: DataArgument
    """Training split with tokens and true poses."""
    validation: Path
    """Another split, on which the read-out's error is measured."""
    recipe: Flat[ReadoutTrainingConfig] = field(default_factory=ReadoutTrainingConfig)
    """How the read-out is trained."""
    held_out_starts: CountOrZero = 0
    """Starts of closed loops with recorded actions, in which the error is also measured after 1, 5, 10 and 20 env
    steps; 0 for none. A held-out split of the reference world is recorded to out/held-out for them (needs the reference
    extra)."""
    json: Path | None = None
    """JSON file for the measured errors."""
    device: str = "auto"
    """Device that trains: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""


def run_readout_training(config: ReadoutRunConfig, caller: Caller = PYTHON) -> dict[str, Any]:
    """Trains the read-out that estimates base, head and hands from tokens, and puts it into a checkpoint.

    Returns:
        The errors: on the `validation` split and, with held-out starts, in closed loops (`held_out`).

    Raises:
        CheckpointError: there is no such checkpoint, it is of another robot than EVE, or another tokenizer made the
            tokens.
        DatasetError: a split has no tokens or no poses, or is of another robot.
        SavingError: a file cannot be written.
    """
    checkpoint = load(config.checkpoint)
    splits = Dataset(config.data), Dataset(config.validation)
    check_reference(checkpoint.robot)
    check_robot(checkpoint.robot, *splits)
    check_tokenizer(checkpoint.tokenizer, *splits)
    recipe = config.recipe.resolved(check_device(config.device))
    readout = train_readout(splits[0], recipe, checkpoint.model.config, config.device)
    error: dict[str, Any] = {"validation": judge_readout(readout, splits[1])}
    starts = config.held_out_starts
    if starts:
        clips = HISTORY_CLIPS + max(CLOSED_LOOP_STEPS)
        recording = record_held_out(Path("out/held-out"), starts, clips, checkpoint.image_size)
        error["held_out"] = measure_held_out(readout, WorldSimulator(checkpoint), recording, starts=starts)
    provenance = {"recipe": asdict(recipe), "error": error}
    save(with_readout(checkpoint, readout, provenance), resolve(config.checkpoint))
    publish(error, config.json, caller)
    return error
