"""Trains the built-in tokenizer on raw images; can be stopped at any time and resumes to the bit."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from hwm_env.data.reader import Dataset
from hwm_env.data.windows import FrameWindows, evenly_spread
from hwm_env.devices import check_device
from hwm_env.errors import InvalidInputError
from hwm_env.fields import Count, Decay, NotNegative, Positive, Seed
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.pixels import normalised
from hwm_env.tokenizers.tiny import TOKENIZER_FILE, TinyTokenizer, TinyTokenizerConfig
from hwm_env.training.runs.ema import Ema
from hwm_env.training.runs.optimizers import MuonWithAdamW
from hwm_env.training.runs.run import Run
from hwm_env.training.runs.schedule import Recipe
from hwm_env.training.tokenizer.reconstruction import mean_psnr, reconstruction_loss
from hwm_env.types import FRAMES_PER_CLIP

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
    squared_error_weight: NotNegative = 4.0
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
        device: device to train on.

    Returns:
        The tokenizer with averaged weights, in evaluation mode, as saved.

    Raises:
        InvalidInputError: `out` already contains a run or other files, the run was started with another configuration,
            `initial` is of another kind or size, or there is no such device.
        DatasetError: the data set has no raw images.
        SavingError: a file could not be written.
    """
    device = check_device(device)
    config = config.resolved(device)
    run = Run(out, resume=resume, results=(TOKENIZER_FILE,))
    windows = FrameWindows(Dataset(recordings), FRAMES_PER_CLIP)
    held_out = _validation_batch(Dataset(validation or recordings), config.validation_clips).to(device)
    tokenizer = _new_tokenizer(config, initial).to(device)
    ema = Ema(tokenizer, config.ema_decay)
    optimizer = _optimizer(tokenizer, config)
    first_step = run.restore(asdict(config), model=tokenizer, ema=ema, optimizer=optimizer)
    started_s = time.monotonic()
    for step in tqdm(
        range(first_step, config.steps), initial=first_step, total=config.steps, desc="train-tokenizer", unit="step"
    ):
        images = normalised(_batch(windows, config, step).to(device))
        optimizer.set_learning_rate(config.share_at(step))
        loss = _train_step(tokenizer, optimizer, images, config)
        ema.update(tokenizer)
        if (step + 1) % config.report_every == 0 or step + 1 == config.steps:
            with ema.applied_to(tokenizer):
                validation_psnr = mean_psnr(tokenizer, held_out)
            clips_per_s = (step + 1 - first_step) * config.batch_size / (time.monotonic() - started_s)
            run.log(step=step + 1, loss=loss, validation_psnr=validation_psnr, clips_per_s=clips_per_s)
            run.save(step + 1, asdict(config), {"model": tokenizer, "ema": ema, "optimizer": optimizer})
    ema.copy_to(tokenizer)
    tokenizer.save(out)
    return tokenizer.eval()


def _train_step(
    tokenizer: TinyTokenizer,
    optimizer: MuonWithAdamW,
    images: Tensor,
    config: TokenizerTrainingConfig,
) -> float:
    """Updates the weights and returns the loss before the update."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        reconstruction = tokenizer(images).float()
    loss = reconstruction_loss(
        reconstruction, images, squared_error_weight=config.squared_error_weight, edge_weight=config.edge_weight
    )
    if not loss.isfinite():
        raise FloatingPointError(f"the loss became {loss.item()}; the last saved state is not affected")
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(tokenizer.parameters(), config.max_gradient_norm)
    optimizer.step()
    return loss.item()


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


def _batch(windows: FrameWindows, config: TokenizerTrainingConfig, step: int) -> Tensor:
    """Draws the clips of a step, uint8 [B, 17, H, W, 3], as a function of seed and step; no order has to be saved."""
    indices = np.random.default_rng([config.seed, step]).integers(len(windows), size=config.batch_size)
    return torch.from_numpy(windows.gather(indices).frames)


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
