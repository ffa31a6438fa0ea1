"""`hwm-env train-tokenizer`: a training of the built-in tokenizer."""

from dataclasses import dataclass, field
from pathlib import Path

from hwm_env.arguments import Flat, RecordingsArgument
from hwm_env.checkpoint import load_tokenizer
from hwm_env.fields import CheckedFields
from hwm_env.tokenizers.tiny import TinyTokenizer
from hwm_env.training.tokenizer.train import TokenizerTrainingConfig, train_tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerRunConfig(CheckedFields):
    """Data, directory and recipe of a tokenizer's training."""

    recordings: RecordingsArgument
    """Directory that `hwm-env collect` wrote."""
    out: Path
    """Directory for the tokenizer."""
    recipe: Flat[TokenizerTrainingConfig] = field(default_factory=TokenizerTrainingConfig)
    """Size of the tokenizer, and how it is trained."""
    validation: Path | None = None
    """Another recording, which the training does not use, to measure the PSNR on."""
    initial: str | None = None
    """Tokenizer to start from, instead of random weights, or a checkpoint that has it."""
    device: str = "auto"
    """Device that trains: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    resume: bool = False
    """Continue an interrupted training in the same directory."""


def run_tokenizer_training(config: TokenizerRunConfig) -> TinyTokenizer:
    """Trains the built-in video tokenizer on the images of a recording.

    Raises:
        InvalidInputError: a run is in the way or has another configuration, `initial` has another size, or
            there is no such device.
        DatasetError: a recording has no raw images.
        SavingError: a file cannot be written.
    """
    return train_tokenizer(
        config.recordings,
        config.out,
        config.recipe,
        config.resume,
        validation=config.validation,
        initial=None if config.initial is None else load_tokenizer(config.initial),
        device=config.device,
    )
