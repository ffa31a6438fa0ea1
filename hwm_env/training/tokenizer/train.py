"""Trains the built-in tokenizer on raw images."""

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hwm_env.data.reader import Dataset
from hwm_env.data.windows import FrameWindows, evenly_spread
from hwm_env.devices import check_device
from hwm_env.errors import InvalidInputError
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.pixels import normalised
from hwm_env.tokenizers.tiny import TOKENIZER_FILE, TinyTokenizer, TinyTokenizerConfig
from hwm_env.training.runs.run import Run
from hwm_env.training.tokenizer.clips import load
from hwm_env.training.tokenizer.fitting import ReconstructionRecipe, fit
from hwm_env.training.tokenizer.reconstruction import mean_psnr, reconstruction_loss
from hwm_env.types import FRAMES_PER_CLIP


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerTrainingConfig(ReconstructionRecipe):
    """The recipe of a tokenizer training run."""

    tokenizer: TinyTokenizerConfig = field(default_factory=TinyTokenizerConfig)
    """Size of the tokenizer."""


def train_tokenizer(
    recordings: Path,
    out: Path,
    config: TokenizerTrainingConfig,
    resume: bool = False,
    *,
    validation: Path | None = None,
    initial: VideoTokenizer | None = None,
    device: str | torch.device = "cpu",
) -> TinyTokenizer:
    """Trains a tokenizer on all windows of 17 frames, at every offset.

    Args:
        recordings: data set with raw images.
        out: directory for `tokenizer.safetensors` (averaged weights) and the files of a `Run`.
        config: the recipe.
        resume: continue the run in `out`.
        validation: data set with raw images on which the logged PSNR is measured; `None` means `recordings`.
        initial: tokenizer whose weights to start from, a `TinyTokenizer` of the size in `config`; `None` means random
            weights.
        device: device to train on; "auto" means a GPU if there is one.

    Returns:
        The tokenizer with averaged weights, in evaluation mode, as saved.

    Raises:
        InvalidInputError: `out` already contains a run or other files, the run was started with another configuration,
            `initial` is of another kind or size, or there is no such device.
        DatasetError: the data set has no raw images.
        DivergedError: the loss or its gradient was NaN or infinite, as seen at a report; the last saved state is whole.
        SavingError: a file could not be written.
    """
    device = check_device(device)
    config = config.resolved(device)
    run = Run(out, resume=resume, results=(TOKENIZER_FILE,))
    dataset = Dataset(recordings)
    windows = FrameWindows(dataset, FRAMES_PER_CLIP)
    held_out = validation_batch(Dataset(validation or recordings), config.validation_clips).to(device)
    tokenizer = _new_tokenizer(config, initial).to(device)

    def rehearse() -> None:
        """Computes a step and a validation: the first takes seconds, in which a GPU prepares."""
        _loss(tokenizer, held_out[:1].expand(config.batch_size, -1, -1, -1, -1), config).backward()
        mean_psnr(tokenizer, held_out)

    fit(
        tokenizer,
        config,
        run,
        asdict(config),
        partial(load, dataset, windows, device=device),
        len(windows),
        lambda clips: _loss(tokenizer, clips.frames, config),
        lambda: {"validation_psnr": mean_psnr(tokenizer, held_out)},
        description="train-tokenizer",
        rehearse=None if device.type == "cpu" else rehearse,
    )
    tokenizer.save(out)
    return tokenizer.eval()


def validation_batch(dataset: Dataset, count: int) -> Tensor:
    """Returns some of a data set's clips, evenly spread, uint8 [B, 17, H, W, 3]."""
    windows = FrameWindows(dataset, FRAMES_PER_CLIP)
    return torch.from_numpy(windows.gather(evenly_spread(len(windows), count)).frames)


def _loss(tokenizer: TinyTokenizer, clips: Tensor, config: TokenizerTrainingConfig) -> Tensor:
    images = normalised(clips)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        reconstruction = tokenizer(images).float()
    return reconstruction_loss(
        reconstruction, images, squared_error_weight=config.squared_error_weight, edge_weight=config.edge_weight
    )


def _new_tokenizer(config: TokenizerTrainingConfig, initial: VideoTokenizer | None) -> TinyTokenizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        tokenizer = TinyTokenizer(config.tokenizer)
    if initial is not None:
        if not isinstance(initial, TinyTokenizer) or initial.config != config.tokenizer:
            raise InvalidInputError(
                f"expected a TinyTokenizer of {config.tokenizer} to start from, got "
                f"{getattr(initial, 'config', type(initial).__name__)}; give one of this size, or leave it out"
            )
        tokenizer.load_state_dict(initial.state_dict())
    return tokenizer
