"""Trains the built-in tokenizer on raw images; can be stopped at any time and resumes to the bit."""

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hwm_env.data.reader import Dataset
from hwm_env.data.windows import FrameWindows, evenly_spread
from hwm_env.devices import check_device
from hwm_env.errors import DivergedError, InvalidInputError
from hwm_env.fields import Count, Decay, NotNegative, Positive, Seed
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.pixels import normalised
from hwm_env.tokenizers.tiny import TOKENIZER_FILE, TinyTokenizer, TinyTokenizerConfig
from hwm_env.training.runs.convolutions import fastest_convolutions
from hwm_env.training.runs.ema import Ema
from hwm_env.training.runs.optimizers import MuonWithAdamW
from hwm_env.training.runs.pace import Pace
from hwm_env.training.runs.run import Run, Stateful
from hwm_env.training.runs.schedule import Recipe
from hwm_env.training.tokenizer.clips import load
from hwm_env.training.tokenizer.reconstruction import mean_psnr, reconstruction_loss
from hwm_env.types import FRAMES_PER_CLIP, Int64Array

END_LAYERS = ("encoder.stem", "encoder.to_latents", "decoder.from_values", "decoder.to_pixels")
"""Layers that read or write images or tokens, which AdamW trains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerTrainingConfig(Recipe):
    """The recipe of a tokenizer training run."""

    tokenizer: TinyTokenizerConfig = field(default_factory=TinyTokenizerConfig)
    """Size of the tokenizer."""
    steps: Count = 6000
    """Optimizer steps."""
    batch_size: Count = 8
    """Clips for each step."""
    matrix_learning_rate: Positive = 0.02
    """Peak learning rate of Muon, which trains the matrices."""
    learning_rate: Positive = 2e-3
    """Peak learning rate of AdamW, which trains the rest."""
    weight_decay: NotNegative = 0.01
    """Weight decay of both optimizers."""
    max_gradient_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    ema_decay: Decay = 0.998
    """Decay of the averaged weights, which are validated and saved."""
    squared_error_weight: NotNegative = 16.0
    """Weight of the mean squared error relative to the mean absolute error, for images in [-1, 1]."""
    edge_weight: NotNegative = 0.5
    """Weight of the mean absolute error of differences between neighbouring pixels."""
    report_every: Count = 250
    """Steps between validations and saved states."""
    validation_clips: Count = 100
    """Number of held-out clips for each validation, always the same."""
    seed: Seed = 0
    """Seed of initialisation and batches."""


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
    held_out = _validation_batch(Dataset(validation or recordings), config.validation_clips).to(device)
    tokenizer = _new_tokenizer(config, initial).to(device)
    ema = Ema(tokenizer, config.ema_decay)
    optimizer = _optimizer(tokenizer, config)
    pace = Pace(config)
    parts: dict[str, Stateful] = {"model": tokenizer, "ema": ema, "optimizer": optimizer}
    if config.minutes is not None:
        parts["pace"] = pace
    first_step = steps_done = run.restore(asdict(config), **parts)
    batches = load(dataset, windows, _indices(len(windows), config, first_step), device)

    def report(result: StepResult) -> None:
        loss = result.checked_loss()
        with ema.applied_to(tokenizer):
            validation_psnr = mean_psnr(tokenizer, held_out)
        clips_per_s = (steps_done - first_step) * config.batch_size / (time.monotonic() - started_s)
        run.log(step=steps_done, loss=loss, validation_psnr=validation_psnr, clips_per_s=clips_per_s)
        run.save(steps_done, asdict(config), parts)

    with fastest_convolutions():
        if device.type != "cpu":
            _rehearse(tokenizer, held_out, config)
        started_s = time.monotonic()
        # The last one is reported after its time is counted.
        result: StepResult | None = None
        for step, clips in zip(pace.steps(first_step, "train-tokenizer"), batches, strict=False):
            if result is not None and steps_done % config.report_every == 0:
                report(result)
            optimizer.set_learning_rate(config.share_at(pace.position))
            result = _train_step(tokenizer, optimizer, normalised(clips), config)
            ema.update(tokenizer)
            steps_done = step + 1
        if result is not None:
            report(result)
    ema.copy_to(tokenizer)
    tokenizer.save(out)
    return tokenizer.eval()


class StepResult(NamedTuple):
    """What a step computed before it updated the weights: scalars on the device, so that nothing waits for it."""

    loss: Tensor
    gradient_norm: Tensor
    """Norm of the gradient before clipping."""

    def checked_loss(self) -> float:
        """Returns the loss.

        Raises:
            DivergedError: loss or gradient were not finite, in this step or an earlier one, after which all are NaN.
        """
        loss, norm = self.loss.item(), self.gradient_norm.item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"the loss became {loss} and its gradient's norm {norm}; the last saved state is not affected"
            )
        return loss


def _train_step(
    tokenizer: TinyTokenizer,
    optimizer: MuonWithAdamW,
    images: Tensor,
    config: TokenizerTrainingConfig,
) -> StepResult:
    """Updates the weights."""
    loss = _loss(tokenizer, images, config)
    optimizer.zero_grad()
    loss.backward()
    gradient_norm = nn.utils.clip_grad_norm_(tokenizer.parameters(), config.max_gradient_norm)
    optimizer.step()
    return StepResult(loss.detach(), gradient_norm)


def _loss(tokenizer: TinyTokenizer, images: Tensor, config: TokenizerTrainingConfig) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        reconstruction = tokenizer(images).float()
    return reconstruction_loss(
        reconstruction, images, squared_error_weight=config.squared_error_weight, edge_weight=config.edge_weight
    )


def _rehearse(tokenizer: TinyTokenizer, clips: Tensor, config: TokenizerTrainingConfig) -> None:
    """Computes a step and a validation without updating weights: the first takes seconds, in which a GPU prepares."""
    images = normalised(clips[:1]).expand(config.batch_size, -1, -1, -1, -1)
    _loss(tokenizer, images, config).backward()
    tokenizer.zero_grad()
    mean_psnr(tokenizer, clips)


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


def _indices(num_windows: int, config: TokenizerTrainingConfig, first_step: int) -> Iterator[Int64Array]:
    """Draws the windows of all steps from this one on, int64 [B] each, as a function of seed and step."""
    for step in itertools.count(first_step):
        yield np.random.default_rng([config.seed, step]).integers(num_windows, size=config.batch_size)


def _validation_batch(dataset: Dataset, count: int) -> Tensor:
    windows = FrameWindows(dataset, FRAMES_PER_CLIP)
    return torch.from_numpy(windows.gather(evenly_spread(len(windows), count)).frames)


def _optimizer(tokenizer: TinyTokenizer, config: TokenizerTrainingConfig) -> MuonWithAdamW:
    return MuonWithAdamW(
        tokenizer,
        is_inner=lambda name: name.rsplit(".", 1)[0] not in END_LAYERS,
        matrix_learning_rate=config.matrix_learning_rate,
        learning_rate=config.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=config.weight_decay,
        in_bfloat16=config.precision == "bfloat16",
    )
