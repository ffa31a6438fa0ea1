"""Trains the scene model on tokenised recordings with base poses; can be stopped at any time and resumed."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from hwm_env import draws
from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.windows import ClipWindows, evenly_spread
from hwm_env.devices import check_device
from hwm_env.errors import DivergedError
from hwm_env.evaluation.worlds.scene_scores import judge_scene
from hwm_env.fields import Count, CountOrZero, NotNegative, Positive, Seed, Share
from hwm_env.scene.model import KEYFRAMES, SceneConfig, SceneModel
from hwm_env.scene.rendering import PosedClips
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.training.initial import copy_weights
from hwm_env.training.runs.convolutions import fastest_convolutions
from hwm_env.training.runs.pace import Pace
from hwm_env.training.runs.run import Run, Stateful
from hwm_env.training.runs.schedule import Recipe
from hwm_env.training.scene.clips import ClipSource, clips_of_step, gather_clips
from hwm_env.training.scene.pose_corrections import CorrectionTrainer

logger = logging.getLogger(__name__)

_JITTER: Final = 1
"""Stream of the draws of places along rays; the batch's clips are stream 0."""

PoseCorrection = Literal["none", "constant", "drift"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneTrainingConfig(Recipe):
    """The recipe of a scene training run."""

    steps: Count = 24_000
    """Optimizer steps."""
    warmup_steps: CountOrZero = 200
    """Steps of linear warm-up."""
    hold_share: Share = 0.5
    """Share of all steps (warm-up included) before the cosine decay."""
    final_share: Share = 0.01
    """Learning rate of the last step, as a share of the peak."""
    batch_size: Count = 24
    """Clips for each step."""
    learning_rate: Positive = 2e-3
    """Peak learning rate of the networks."""
    plane_learning_rate: Positive = 1e-2
    """Peak learning rate of the map's planes, which have no weight decay."""
    weight_decay: NotNegative = 0.05
    """Weight decay of AdamW for the networks."""
    max_gradient_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    report_every: Count = 1000
    """Steps between validations and saved states."""
    validation_clips: Count = 64
    """Number of held-out clips for each validation, always the same."""
    seed: Seed = 0
    """Seed of initialisation, batches and jitter."""
    pose_correction: PoseCorrection = "none"
    """Correction of the poses that is learned with the map (bundle adjustment): none, a motion of the plane for each
    recording, or such a motion with a slow drift."""
    correction_learning_rate: Positive = 1e-2
    """Peak learning rate of the corrections (m for each step); a turn counts as the motion of a point at 2 m."""
    drift_learning_rate: Positive = 2e-3
    """Peak learning rate of the drift's knots (m for each step)."""
    knot_interval_s: Positive = 4.0
    """Approximate time between two knots of the drift."""
    drift_std_m: Positive = 0.02
    """Expected change of the drift from one knot to the next; a turn counts as the motion of a point at 2 m."""
    correction_delay: Share = 0.0
    """Share of all steps before the corrections begin, so that there is a map for them."""

    def correction_share_at(self, step: float) -> float:
        """Returns the learning rate of the corrections at a step (counted from 0) as a share of the peak."""
        return self.share_at(step) if step >= self.correction_delay * self.steps else 0.0


def train_scene(
    data: Dataset,
    validation: Dataset,
    tokenizer: VideoTokenizer,
    out: Path,
    scene: SceneConfig,
    config: SceneTrainingConfig,
    *,
    initial: SceneModel | None = None,
    resume: bool = False,
    device: str | torch.device = "cpu",
) -> SceneModel:
    """Trains a scene model.

    Batches and jitter are functions of seed and step, equal on all devices. On a CPU, a training can be repeated to the
    bit; on CUDA, the gradients of the map's planes are sums in an order that varies.

    Args:
        data: a split with tokens and poses.
        validation: another split with tokens and poses.
        tokenizer: the tokenizer of both splits; it is moved to the device.
        out: directory of the run.
        scene: shape of the model; grid and FSQ levels must be those of the data.
        config: the recipe.
        initial: model whose weights to start from (see `new_scene`); `None` means random weights.
        resume: continue the run in `out`.
        device: device to train on; "auto" means a GPU if there is one.

    Returns:
        The model, in evaluation mode. If poses are corrected, the corrections are in the run's checkpoint
        (`PoseCorrections.load`); held-out clips are validated at their uncorrected poses.

    Raises:
        DatasetError: a split has no tokens or no poses.
        DivergedError: the loss became NaN or infinite, which is noticed at the next report.
        InvalidInputError: `out` already contains a run or other files, the run was started with another configuration,
            there is no such device, or `initial` has weights that do not fit the model.
        SavingError: a file could not be written.
    """
    device = check_device(device)
    config = config.resolved(device)
    windows, held_out = ClipWindows(data, 1), ClipWindows(validation, 1)
    judged = gather_clips(held_out, evenly_spread(len(held_out), config.validation_clips))
    clips, tokenizer = ClipSource(windows, device), tokenizer.to(device)
    run, pace = Run(out, resume=resume), Pace(config)
    model = new_scene(scene, ActionStatistics.from_dataset(data), config.seed, initial).to(device)
    optimizer = _optimizer(model, config)
    trainer = _correction_trainer(data, windows, config, device)
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer}
    if trainer is not None:
        parts["corrections"] = trainer
    if config.minutes is not None:
        parts["pace"] = pace
    whole = {"scene": asdict(scene), "training": asdict(config)}
    first_step = run.restore(whole, **parts)
    reports = _Reports(run, whole, parts, model, judged, tokenizer, trainer, config.batch_size, first_step)
    losses = torch.zeros((), device=device)
    step = first_step - 1
    for step in pace.steps(first_step, "train-scene"):
        # Before the next step and not after the last one, whose time is then known.
        if step % config.report_every == 0 and step > first_step:
            reports.add(step, losses)
        indices = clips_of_step(config.seed, step, config.batch_size, len(windows))
        batch, penalty = clips(indices), torch.zeros((), device=device)
        if trainer is not None:
            poses, penalty = trainer.correct(batch.poses, indices)
            batch = batch._replace(poses=poses)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * config.share_at(pace.position)
        losses += _train_step(model, optimizer, batch, penalty, config, step)
        if trainer is not None:
            trainer.step(config.correction_share_at(pace.position))
    if step >= first_step:
        reports.add(step + 1, losses)
    return model.eval()


class _Reports:
    """Validates, logs and saves a training; this is when its process waits for the device."""

    def __init__(
        self,
        run: Run,
        config: Mapping[str, object],
        parts: Mapping[str, Stateful],
        model: SceneModel,
        judged: PosedClips,
        tokenizer: VideoTokenizer,
        trainer: CorrectionTrainer | None,
        batch_size: int,
        first_step: int,
    ) -> None:
        self._run, self._config, self._parts = run, config, parts
        self._model, self._judged, self._tokenizer = model, judged, tokenizer
        self._write = None if trainer is None else trainer.corrections.save
        self._batch_size, self._first_step = batch_size, first_step
        self._last_step = first_step
        self._started_s = time.monotonic()

    def add(self, steps_done: int, losses: Tensor) -> None:
        """Adds a report after so many steps.

        Args:
            steps_done: number of steps.
            losses: sum of the losses since the last report, float []; it is set to zero.

        Raises:
            DivergedError: losses or weights are not finite; nothing is saved.
        """
        loss = losses.item() / (steps_done - self._last_step)
        clips_per_s = (steps_done - self._first_step) * self._batch_size / (time.monotonic() - self._started_s)
        scores = judge_scene(self._model.eval(), self._judged, self._tokenizer)
        self._model.train()
        for value in (loss, scores.loss):
            if not math.isfinite(value):
                raise DivergedError(f"the loss became {value}; the last saved state is not affected")
        judged_values = {f"validation_{name}": value for name, value in scores._asdict().items()}
        self._run.log(step=steps_done, loss=loss, clips_per_s=clips_per_s, **judged_values)
        self._run.save(steps_done, self._config, self._parts, write=self._write)
        self._last_step = steps_done
        losses.zero_()


def new_scene(
    scene: SceneConfig, statistics: ActionStatistics, seed: int, initial: SceneModel | None = None
) -> SceneModel:
    """Returns a scene model to train, which normalises states by these statistics.

    Args:
        scene: shape of the model.
        statistics: statistics of the training data.
        seed: seed of the random weights.
        initial: another model whose weights are copied, see `copy_weights`; its map should have the same bounds.

    Raises:
        InvalidInputError: `initial` has weights that do not fit this model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SceneModel(scene)
    if initial is not None:
        copy_weights(model, initial)
    model.set_statistics(torch.tensor(statistics.mean), torch.tensor(statistics.std))
    return model


def _train_step(
    model: SceneModel,
    optimizer: torch.optim.Optimizer,
    batch: PosedClips,
    penalty: Tensor,
    config: SceneTrainingConfig,
    step: int,
) -> Tensor:
    """Updates the weights and returns the loss before the update, without the penalty; does not wait for the device."""
    device = batch.tokens.device
    seeds_B = draws.seeds_of(config.seed, step, range(len(batch.tokens))).to(device, non_blocking=True)
    shape = (len(KEYFRAMES), *model.rays.shape[:2], model.config.map.samples)
    with fastest_convolutions():
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = model(batch.poses, batch.numbers, draws.uniform(seeds_B, _JITTER, shape))
        loss = model.head.cross_entropy(logits, batch.tokens).mean()
        optimizer.zero_grad()
        (loss + penalty).backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
    optimizer.step()
    return loss.detach()


def _optimizer(model: SceneModel, config: SceneTrainingConfig) -> torch.optim.AdamW:
    planes = list(model.map.planes)
    others = [parameter for name, parameter in model.named_parameters() if not name.startswith("map.planes.")]
    groups: list[dict[str, Any]] = [
        {"params": others, "peak": config.learning_rate, "weight_decay": config.weight_decay},
        {"params": planes, "peak": config.plane_learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _correction_trainer(
    data: Dataset, windows: ClipWindows, config: SceneTrainingConfig, device: torch.device
) -> CorrectionTrainer | None:
    if config.pose_correction == "none":
        return None
    return CorrectionTrainer(
        data,
        windows,
        KEYFRAMES,
        learning_rate=config.correction_learning_rate,
        drift_learning_rate=config.drift_learning_rate if config.pose_correction == "drift" else None,
        knot_interval_s=config.knot_interval_s,
        drift_std_m=config.drift_std_m,
        device=device,
    )
