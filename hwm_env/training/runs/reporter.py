"""Reports the progress of a training run: validation, log, curves and checkpoints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch

from hwm_env import checkpoint as checkpoints
from hwm_env.checkpoint import Checkpoint
from hwm_env.training.runs.monitor import TensorBoard
from hwm_env.training.runs.run import Run, Stateful
from hwm_env.training.world_model.trainee import Trainee
from hwm_env.training.world_model.validation import Validation


@dataclass(frozen=True, slots=True, eq=False)
class Reporter:
    """Validates and saves the averaged weights; all processes call it, only the first one reports."""

    run: Run
    config: Mapping[str, object]
    """Configuration of the run."""
    parts: Mapping[str, Stateful]
    """All parts of the run with a state."""
    checkpoint: Checkpoint
    """The checkpoint to save; the averaged weights are copied to its model."""
    validation: Validation | None
    """`None` in all processes but the first."""
    curves: TensorBoard | None
    """`None` in all processes but the first."""

    def step(self, steps_done: int, numbers: Mapping[str, float]) -> None:
        """Adds a point to the curves."""
        if self.curves is not None:
            self.curves.numbers(steps_done, {f"train/{name}": value for name, value in numbers.items()})

    def full(self, steps_done: int, numbers: Mapping[str, float], trainee: Trainee) -> None:
        """Validates, logs and saves."""
        trainee.ema.copy_to(self.checkpoint.model)
        score, judged = None, {}
        if self.validation is not None and self.curves is not None:
            model = self.checkpoint.model
            with torch.autocast(
                trainee.accelerator.device.type, torch.bfloat16, enabled=trainee.config.precision == "bfloat16"
            ):
                losses, preview = self.validation.losses(model), self.validation.preview(model)
            score, judged = losses.next_clip_loss, asdict(losses)
            if preview is not None:
                judged |= preview.numbers()
                self.curves.videos(steps_done, "validation: truth, prediction", preview.videos)
            self.curves.numbers(steps_done, {f"validation/{name}": value for name, value in judged.items()})
            validated = {f"validation_{name}": value for name, value in judged.items()}
            self.run.log(step=steps_done, **numbers, **validated)
        self._save(steps_done, trainee, numbers, score, judged)

    def save(self, steps_done: int, trainee: Trainee) -> None:
        """Saves without validating."""
        trainee.ema.copy_to(self.checkpoint.model)
        self._save(steps_done, trainee, {}, None, {})

    def _save(
        self,
        steps_done: int,
        trainee: Trainee,
        numbers: Mapping[str, float],
        score: float | None,
        judged: Mapping[str, float],
    ) -> None:
        config, model = trainee.config, trainee.model.config
        targets = model.num_past_clips if config.parallel_targets else config.future_clips
        done = {"steps": steps_done, "targets": steps_done * config.batch_size * targets}
        speed = {name: numbers[name] for name in ("samples_per_s", "matrix_share") if name in numbers}
        origin = {**self.checkpoint.provenance, **done, **speed, "validation": dict(judged)}
        content = replace(self.checkpoint, provenance=origin)
        self.run.save(
            steps_done,
            self.config,
            self.parts,
            write=lambda directory: checkpoints.save(content, directory),
            score=score,
        )
