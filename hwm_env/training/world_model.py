"""Trains a MaskedHWM on a tokenised data set; can be stopped at any moment and continues bit for bit."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.windows import ClipWindows
from hwm_env.errors import InvalidInputError
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.training.ema import Ema
from hwm_env.training.objective import next_clip_loss, parallel_targets_loss
from hwm_env.training.optimizers import MuonWithAdamW
from hwm_env.training.run import Run
from hwm_env.training.schedule import Schedule

MIN_ACTION_STD = 1e-2
"""Numbers that hardly move are not blown up beyond this by the normalisation (rad, m/s or rad/s)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig(Schedule):
    """Recipe of a world-model training run."""

    steps: int = 1500
    """Optimizer steps."""
    batch_size: int = 8
    """Windows of `num_past_clips` + 1 clips a step; each holds `num_past_clips` targets."""
    matrix_learning_rate: float = 0.01
    """Peak learning rate of Muon, which trains the blocks' matrices."""
    learning_rate: float = 1.5e-3
    """Peak learning rate of AdamW, which trains the rest."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates."""
    weight_decay: float = 0.05
    """Weight decay of both optimizers."""
    max_gradient_norm: float = 1.0
    """Gradients are clipped to this norm."""
    ema_decay: float = 0.998
    """Decay of the averaged weights, which are the ones that are kept."""
    max_corruption: float = 0.2
    """Tokens are replaced by random ones at a rate drawn from U(0, max_corruption)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the matrix products; bfloat16 pays on GPUs and on CPUs with AVX512-BF16 or AMX."""
    report_every: int = 100
    """Steps between validations and saved states."""
    validation_windows: int = 64
    """Windows of the validation split that are judged each time, always the same."""
    seed: int = 0
    """Of initialisation, batches, masks and corruption."""

    def __post_init__(self) -> None:
        """Raises InvalidInputError with the field's name."""
        Schedule.__post_init__(self)
        for field in ("batch_size", "report_every"):
            if getattr(self, field) < 1:
                raise InvalidInputError(f"{field} must be at least 1, got {getattr(self, field)}")
        if self.validation_windows < 2:
            raise InvalidInputError(
                f"validation_windows must be at least 2 to shuffle actions, got {self.validation_windows}"
            )
        if not 0 <= self.max_corruption <= 1:
            raise InvalidInputError(f"max_corruption must lie in 0..1, got {self.max_corruption}")
        if self.precision not in ("float32", "bfloat16"):
            raise InvalidInputError(f"precision must be 'float32' or 'bfloat16', got {self.precision!r}")


def train_world_model(
    data: Dataset,
    validation: Dataset,
    directory: Path,
    model_config: MaskedHWMConfig,
    config: TrainingConfig,
    *,
    resume: bool = False,
    device: str | torch.device = "cpu",
) -> MaskedHWM:
    """Trains a world model.

    Logs, beside the loss, the loss of the next clip with true and with shuffled actions: while they are equal, no
    simulator is being trained.

    Args:
        data: the training split, tokenised.
        validation: another split, tokenised by the same tokenizer.
        directory: where the run keeps its log and state.
        model_config: shape of the model.
        config: the recipe.
        resume: go on with the run that is in `directory`.
        device: where to train.

    Returns:
        The model with averaged weights, in evaluation mode.

    Raises:
        InvalidInputError: a run is in the way, or belongs to another configuration.
        DatasetError: the data do not fit the model.
    """
    device = torch.device(device)
    run = Run(directory, resume=resume)
    windows = ClipWindows(data, model_config.num_past_clips + 1)
    held_out = _validation_batch(validation, model_config, config).to(device)
    model = new_model(model_config, ActionStatistics.from_dataset(data), config.seed).to(device)
    ema = Ema(model, config.ema_decay)
    optimizer = _optimizer(model, config)
    whole_config = {"model": asdict(model_config), "training": asdict(config)}
    first_step = run.restore(whole_config, model=model, ema=ema, optimizer=optimizer)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    started_s, trained = time.monotonic(), 0
    for step in tqdm(
        range(first_step, config.steps), initial=first_step, total=config.steps, desc="train", unit="step"
    ):
        batch = _Batch.gather(windows, _batch_indices(len(windows), config, step)).to(device)
        generator = torch.Generator(device).manual_seed(config.seed * 1_000_003 + step)
        optimizer.set_learning_rate(config.share_at(step))
        with autocast:
            result = parallel_targets_loss(model, batch.tokens, batch.actions, config.max_corruption, generator)
        if not result.loss.isfinite():
            raise FloatingPointError(
                f"the loss became {result.loss.item()} at step {step}; the saved state is older and sound"
            )
        optimizer.zero_grad()
        result.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
        optimizer.step()
        ema.update(model)
        trained += batch.tokens.shape[0] * model_config.num_past_clips
        if (step + 1) % config.report_every == 0 or step + 1 == config.steps:
            with autocast, ema.applied_to(model):
                true, shuffled = (
                    next_clip_loss(model, held_out.tokens, held_out.actions, shuffled=flag) for flag in (False, True)
                )
            run.log(
                step=step + 1,
                loss=result.loss.item(),
                accuracy=result.accuracy.item(),
                validation_loss=true.loss.item(),
                validation_loss_shuffled_actions=shuffled.loss.item(),
                validation_accuracy=true.accuracy.item(),
                learning_rate=config.learning_rate * config.share_at(step),
                targets_per_s=trained / (time.monotonic() - started_s),
            )
            run.save(step + 1, whole_config, model=model, ema=ema, optimizer=optimizer)
    ema.copy_to(model)
    return model.eval()


def new_model(config: MaskedHWMConfig, statistics: ActionStatistics, seed: int) -> MaskedHWM:
    """A fresh model that normalises actions by these statistics."""
    model = MaskedHWM(config, torch.Generator().manual_seed(seed))
    model.actions.action_mean.copy_(torch.from_numpy(statistics.mean))
    model.actions.action_std.copy_(torch.from_numpy(np.maximum(statistics.std, MIN_ACTION_STD)))
    return model


@dataclass(frozen=True, slots=True)
class _Batch:
    tokens: Tensor
    actions: Tensor

    @classmethod
    def gather(cls, windows: ClipWindows, indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> "_Batch":
        batch = windows.gather(indices)
        return cls(torch.from_numpy(batch.tokens), torch.from_numpy(batch.actions))

    def to(self, device: torch.device) -> "_Batch":
        return _Batch(self.tokens.to(device, non_blocking=True), self.actions.to(device, non_blocking=True))


def _batch_indices(num_windows: int, config: TrainingConfig, step: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Windows of a step: a function of seed and step, so that no data order has to be saved."""
    return np.random.default_rng([config.seed, step]).integers(num_windows, size=config.batch_size)


def _validation_batch(validation: Dataset, model_config: MaskedHWMConfig, config: TrainingConfig) -> _Batch:
    windows = ClipWindows(validation, model_config.num_past_clips + 1)
    count = min(config.validation_windows, len(windows))
    return _Batch.gather(windows, np.linspace(0, len(windows) - 1, count).astype(np.int64))


def _optimizer(model: MaskedHWM, config: TrainingConfig) -> MuonWithAdamW:
    return MuonWithAdamW(
        model,
        # With Muon the modulation's scales grew to several times the features within 400 steps, and the loss diverged.
        is_inner=lambda name: name.startswith("blocks.") and ".modulation." not in name,
        matrix_learning_rate=config.matrix_learning_rate,
        learning_rate=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )
