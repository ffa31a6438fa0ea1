"""`hwm-env train-decoder`: further training of a checkpoint's decoder."""

from dataclasses import dataclass, field
from pathlib import Path

from hwm_env.arguments import CheckpointArgument, Flat, RecordingsArgument
from hwm_env.checkpoint import Checkpoint, load, resolve, save
from hwm_env.data.reader import Dataset
from hwm_env.fields import CheckedFields
from hwm_env.reporting import PYTHON, Caller
from hwm_env.training.tokenizer.decoder import DecoderTrainingConfig, train_decoder


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderRunConfig(CheckedFields):
    """Checkpoint, data and recipe of a decoder's training."""

    checkpoint: CheckpointArgument
    """Directory of the checkpoint, which receives the trained decoder."""
    recordings: RecordingsArgument
    """Directory that `hwm-env collect` wrote."""
    validation: Path
    """Another recording, which the training does not use, to measure the PSNR on."""
    out: Path
    """Directory of the run."""
    recipe: Flat[DecoderTrainingConfig] = field(default_factory=DecoderTrainingConfig)
    """Size of the decoder, and how it is trained."""
    resume: bool = False
    """Continue an interrupted training in the same directory."""
    device: str = "auto"
    """Device that trains: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""


def run_decoder_training(config: DecoderRunConfig, caller: Caller = PYTHON) -> Checkpoint:
    """Trains a checkpoint's decoder further, also on what its scene draws; tokens keep their meaning.

    Raises:
        CheckpointError: there is no such checkpoint.
        DatasetError: a recording has no raw images, or no poses for the scene, or is of another robot.
        InvalidInputError: a run is in the way or has another configuration, or the tokenizer is not the built-in one.
        SavingError: a file cannot be written.
    """
    whole = train_decoder(
        load(config.checkpoint),
        Dataset(config.recordings),
        Dataset(config.validation),
        config.out,
        config.recipe,
        resume=config.resume,
        device=config.device,
    )
    save(whole, resolve(config.checkpoint))
    decoder = whole.provenance["decoder"]
    caller.show(f"put the decoder into {config.checkpoint}; PSNR in dB: {decoder['before']} -> {decoder['after']}")
    return whole
