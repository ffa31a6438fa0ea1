"""Trains a MaskedHWM on a tokenised data set; can be stopped at any moment and continues bit for bit."""

import logging
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
from hwm_env.training.schedule import learning_rate_at

logger = logging.getLogger(__name__)

MIN_ACTION_STD = 1e-2
"""Numbers that hardly move are not blown up beyond this by the normalisation (rad, m/s or rad/s)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Recipe of a world-model training run."""

    steps: int = 2100
    """Optimizer steps."""
    batch_size: int = 8
    """Windows of `num_past_clips` + 1 clips a step; each holds `num_past_clips` targets."""
    matrix_learning_rate: float = 0.02
    """Peak learning rate of Muon, which trains the blocks' matrices."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW, which trains the rest."""
    warmup_steps: int = 30
    """Steps of linear warm-up."""
    hold_share: float = 0.3
    """Share of the steps at the peak, before the cosine decay."""
    final_share: float = 0.03
    """Learning rate at the end, as a share of the peak."""
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
        for field in ("steps", "batch_size", "report_every"):
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
    first_step = _restore(run, model, ema, optimizer, model_config, config)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    started_s, trained = time.monotonic(), 0
    for step in tqdm(
        range(first_step, config.steps), initial=first_step, total=config.steps, desc="train", unit="step"
    ):
        batch = _Batch.gather(windows, _batch_indices(len(windows), config, step)).to(device)
        generator = torch.Generator(device).manual_seed(config.seed * 1_000_003 + step)
        optimizer.set_learning_rate(_schedule(config, step))
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
                learning_rate=config.learning_rate * _schedule(config, step),
                targets_per_s=trained / (time.monotonic() - started_s),
            )
            run.save_state(
                {
                    "step": step + 1,
                    "configs": _configs(model_config, config),
                    "model": model.state_dict(),
                    "ema": ema.state_dict(),
                    "optimizer": optimizer.state_dict(),
                }
            )
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
        is_inner=lambda name: name.startswith("blocks."),
        matrix_learning_rate=config.matrix_learning_rate,
        learning_rate=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )


def _schedule(config: TrainingConfig, step: int) -> float:
    """Learning rates of a step, as a share of their peaks."""
    return learning_rate_at(
        step,
        total_steps=config.steps,
        warmup_steps=config.warmup_steps,
        peak=1.0,
        hold_share=config.hold_share,
        final_share=config.final_share,
    )


def _configs(model_config: MaskedHWMConfig, config: TrainingConfig) -> dict[str, dict[str, object]]:
    return {"model": asdict(model_config), "training": asdict(config)}


def _restore(
    run: Run,
    model: MaskedHWM,
    ema: Ema,
    optimizer: MuonWithAdamW,
    model_config: MaskedHWMConfig,
    config: TrainingConfig,
) -> int:
    """Puts the saved state back, if there is one, and returns the step to go on with."""
    state = run.load_state()
    if state is None:
        return 0
    if state["configs"] != _configs(model_config, config):
        raise InvalidInputError(
            f"the run in {run.directory} was started with another configuration: {state['configs']}; "
            f"got {_configs(model_config, config)}; repeat the first one to resume, or choose another directory"
        )
    model.load_state_dict(state["model"])
    ema.load_state_dict(state["ema"])
    optimizer.load_state_dict(state["optimizer"])
    logger.info("resuming %s at step %d", run.directory, state["step"])
    return int(state["step"])
