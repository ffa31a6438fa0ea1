"""Fits a tokenizer, or only its decoder, to raw images; can be stopped at any time and resumes to the bit."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from torch import Tensor, nn

from hwm_env.errors import DivergedError
from hwm_env.fields import Count, Decay, NotNegative, Positive, Seed
from hwm_env.training.runs.convolutions import fastest_convolutions
from hwm_env.training.runs.ema import Ema
from hwm_env.training.runs.optimizers import MuonWithAdamW
from hwm_env.training.runs.pace import Pace
from hwm_env.training.runs.run import Run, Stateful
from hwm_env.training.runs.schedule import Recipe
from hwm_env.types import Int64Array

END_LAYERS = ("stem", "to_latents", "from_values", "to_pixels")
"""Layers that read or write images or tokens, which AdamW trains."""

Batch = TypeVar("Batch")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructionRecipe(Recipe):
    """The recipe of a training on raw images."""

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


def fit(
    trainee: nn.Module,
    recipe: ReconstructionRecipe,
    run: Run,
    fingerprint: Mapping[str, object],
    load: Callable[[Iterator[Int64Array]], Iterable[Batch]],
    num_windows: int,
    loss_of: Callable[[Batch], Tensor],
    scores: Callable[[], Mapping[str, float]],
    *,
    description: str,
    rehearse: Callable[[], None] | None = None,
) -> None:
    """Trains a module, in place; it ends with averaged weights.

    Args:
        trainee: what is trained; its other parts keep their weights.
        recipe: how it is trained.
        run: directory of the run, from which it continues if there is a saved state.
        fingerprint: what must be equal to resume the run.
        load: serves the batches of these indices of windows, int64 [B] each.
        num_windows: number of windows to choose from.
        loss_of: computes a batch's loss.
        scores: measures the averaged weights, for the log.
        description: the training's name on the progress bar.
        rehearse: computes what the first steps need, without updating weights.

    Raises:
        InvalidInputError: the run was started with another configuration.
        DivergedError: the loss or its gradient was NaN or infinite, as seen at a report; the last saved state is whole.
        SavingError: a file could not be written.
    """
    ema = Ema(trainee, recipe.ema_decay)
    optimizer = _optimizer(trainee, recipe)
    pace = Pace(recipe)
    parts: dict[str, Stateful] = {"model": trainee, "ema": ema, "optimizer": optimizer}
    if recipe.minutes is not None:
        parts["pace"] = pace
    first_step = steps_done = run.restore(fingerprint, **parts)
    batches = load(_indices(num_windows, recipe, first_step))

    def report(result: StepResult) -> None:
        loss = result.checked_loss()
        with ema.applied_to(trainee):
            measured = scores()
        clips_per_s = (steps_done - first_step) * recipe.batch_size / (time.monotonic() - started_s)
        run.log(step=steps_done, loss=loss, **measured, clips_per_s=clips_per_s)
        run.save(steps_done, fingerprint, parts)

    with fastest_convolutions():
        if rehearse is not None:
            rehearse()
            trainee.zero_grad()
        started_s = time.monotonic()
        # The last one is reported after its time is counted.
        result: StepResult | None = None
        for step, batch in zip(pace.steps(first_step, description), batches, strict=False):
            if result is not None and steps_done % recipe.report_every == 0:
                report(result)
            optimizer.set_learning_rate(recipe.share_at(pace.position))
            result = _train_step(trainee, optimizer, loss_of(batch), recipe.max_gradient_norm)
            ema.update(trainee)
            steps_done = step + 1
        if result is not None:
            report(result)
    ema.copy_to(trainee)


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


def _train_step(trainee: nn.Module, optimizer: MuonWithAdamW, loss: Tensor, max_gradient_norm: float) -> StepResult:
    """Updates the weights."""
    optimizer.zero_grad()
    loss.backward()
    gradient_norm = nn.utils.clip_grad_norm_(trainee.parameters(), max_gradient_norm)
    optimizer.step()
    return StepResult(loss.detach(), gradient_norm)


def _indices(num_windows: int, recipe: ReconstructionRecipe, first_step: int) -> Iterator[Int64Array]:
    """Draws the windows of all steps from this one on, int64 [B] each, as a function of seed and step."""
    for step in itertools.count(first_step):
        yield np.random.default_rng([recipe.seed, step]).integers(num_windows, size=recipe.batch_size)


def _optimizer(trainee: nn.Module, recipe: ReconstructionRecipe) -> MuonWithAdamW:
    return MuonWithAdamW(
        trainee,
        # Names end with the layer and its parameter.
        is_inner=lambda name: name.split(".")[-2] not in END_LAYERS,
        matrix_learning_rate=recipe.matrix_learning_rate,
        learning_rate=recipe.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=recipe.weight_decay,
        in_bfloat16=recipe.precision == "bfloat16",
    )
