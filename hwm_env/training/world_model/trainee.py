"""A model in training: its optimizer steps, in one or several processes, and all of its state."""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.statistics import ActionStatistics
from hwm_env.errors import DivergedError
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.training.initial import copy_weights
from hwm_env.training.runs.distributed import OptimizerState, WeightsState, whole
from hwm_env.training.runs.ema import Ema
from hwm_env.training.runs.optimizers import MuonWithAdamW
from hwm_env.training.runs.run import Stateful
from hwm_env.training.world_model.objective import LossSums, MaskedModelling, Targets
from hwm_env.training.world_model.recipe import TrainingConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

MIN_ACTION_STD = 1e-2
"""Smallest standard deviation for the normalisation (rad, m/s or rad/s), so that tiny motions are not magnified."""


class TrainingStep(NamedTuple):
    """The result of a training step, over the whole batch."""

    loss: Tensor
    """Cross-entropy of each latent, float64 [L], in nats for each token."""
    accuracy: Tensor
    """Share of hidden tokens of which every digit was predicted correctly, float64 [L]."""
    gradient_norm: Tensor
    """Norm of the gradient before clipping, a scalar."""
    stop: bool
    """Whether one of the processes was requested to stop."""

    def numbers(self) -> dict[str, float]:
        """Returns the numbers to log: means over latents, and the perplexity of each latent; waits for the device.

        Raises:
            DivergedError: the loss or its gradient is not finite.
        """
        loss, norm = self.loss.mean().item(), self.gradient_norm.item()
        if not np.isfinite([loss, norm]).all():
            raise DivergedError(f"the loss became {loss} and its gradient's norm {norm}")
        perplexities = {f"perplexity/latent_{i}": value for i, value in enumerate(self.loss.exp().tolist())}
        return {"loss": loss, "accuracy": self.accuracy.mean().item(), **perplexities, "gradient_norm": norm}


@dataclass(frozen=True, slots=True, eq=False)
class Trainee:
    """A model in training, with its optimizer and averaged weights."""

    accelerator: "Accelerator"
    objective: MaskedModelling
    """The objective, wrapped or sharded if there are several processes."""
    model: MaskedHWM
    """The model inside `objective`."""
    optimizer: MuonWithAdamW
    ema: Ema
    config: TrainingConfig
    """The recipe for the device, without "auto"."""

    @classmethod
    def prepare(cls, model: MaskedHWM, config: TrainingConfig, accelerator: "Accelerator") -> "Trainee":
        """Prepares a new model for training on the accelerator's device."""
        config = config.resolved(accelerator.device)
        model.checkpoint_activations = config.checkpoint_activations
        optimizer = MuonWithAdamW(
            model,
            # With Muon, the modulation's scales grew to several times the features within 400 steps, and the loss
            # diverged.
            is_inner=lambda name: name.startswith("blocks.") and ".modulation." not in name,
            matrix_learning_rate=config.matrix_learning_rate,
            learning_rate=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            in_bfloat16=config.precision == "bfloat16",
        )
        objective = MaskedModelling(model, parallel_targets=config.parallel_targets)
        # Sharding replaces the optimizers' parameters in place; their wrappers are only needed for loss scaling.
        wrapped = accelerator.prepare(objective, *optimizer.members)[0]
        inner = accelerator.unwrap_model(wrapped).model
        return cls(accelerator, wrapped, inner, optimizer, Ema(inner, config.ema_decay), config)

    def parts(self) -> dict[str, Stateful]:
        """Returns all parts with a state; data order, masks and noise are functions of seed and step."""
        return {
            "model": WeightsState(self.model),
            "optimizer": OptimizerState(self.model, self.optimizer.members),
            "ema": self.ema,
        }

    @property
    def waits(self) -> bool:
        """Whether each step's result is checked before the weights change: a GPU must not wait for that."""
        return bool(self.accelerator.device.type == "cpu")

    def step(self, position: float, batches: Sequence[Targets], *, stop: bool) -> TrainingStep:
        """Updates the weights.

        Args:
            position: the step's place on the schedule, in steps from 0.
            batches: this process's micro-batches.
            stop: whether this process was requested to stop.

        Raises:
            DivergedError: the loss or its gradient is not finite, and the result was checked (`waits`); the weights are
                unchanged.
        """
        config, accelerator = self.config, self.accelerator
        # One exchange sums the hidden tokens of the whole batch and the requests to stop over all processes.
        counts = torch.stack([batch.counts for batch in batches]).sum(0)
        if accelerator.num_processes > 1:
            summed = self._over_processes(torch.cat([counts, counts.new_tensor([float(stop)])]))
            counts, stop = summed[:-1], summed[-1].item() > 0
        counts = counts.clamp(min=1)
        # Gradients are averaged over processes, but the loss is a mean over the tokens of all of them.
        weights = accelerator.num_processes / (len(counts) * counts)
        totals = torch.zeros(2, len(counts), dtype=torch.float64, device=counts.device)
        self.optimizer.set_learning_rate(config.share_at(position))
        self.optimizer.zero_grad()
        for index, batch in enumerate(batches):
            is_last = index == len(batches) - 1
            with nullcontext() if is_last else accelerator.no_sync(self.objective):
                sums = self._backward(batch, weights)
            totals += torch.stack([sums.loss.detach(), sums.right])
        loss, accuracy = self._over_processes(totals) / counts
        norm = whole(accelerator.clip_grad_norm_(self.objective.parameters(), config.max_gradient_norm))
        result = TrainingStep(loss, accuracy, norm, stop)
        if self.waits:
            try:
                result.numbers()
            except DivergedError:
                self.optimizer.zero_grad()
                raise
        self.optimizer.step()
        self.ema.update(self.model)
        return result

    def compile_blocks(self, batch: Targets) -> float:
        """Compiles the model's blocks for micro-batches like this one; if that fails, they run as they are written.

        Returns:
            The seconds that it took.
        """
        started_s = time.monotonic()
        for block in self.model.blocks:
            block.compile(dynamic=False)
        try:
            self.rehearse(batch)
        # A compiler can raise anything.
        except Exception as error:
            logger.warning("the blocks could not be compiled (%s); they run as they are written", error)
            for block in self.model.blocks:
                block._compiled_call_impl = None
            self.optimizer.zero_grad()
        return time.monotonic() - started_s

    def rehearse(self, batch: Targets) -> float:
        """Measures the seconds that a micro-batch takes forwards and backwards when warm; changes no weights."""
        for _ in range(2):
            started_s = time.monotonic()
            sums = self._backward(batch, torch.ones_like(batch.counts))
            sums.loss.sum().item()  # Reading a number waits for the device.
            duration_s = time.monotonic() - started_s
        self.optimizer.zero_grad()
        return duration_s

    def _backward(self, batch: Targets, weights: Tensor) -> LossSums:
        """Adds the gradients of the weighted sum of the latents' losses."""
        with torch.autocast(weights.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            sums: LossSums = self.objective(batch)
        self.accelerator.backward((sums.loss * weights).sum())
        return sums

    def _over_processes(self, values: Tensor) -> Tensor:
        """Sums over all processes."""
        return cast(Tensor, self.accelerator.reduce(values, reduction="sum"))


def new_model(
    config: MaskedHWMConfig, statistics: ActionStatistics, seed: int, initial: MaskedHWM | None = None
) -> MaskedHWM:
    """Returns a model to train, which normalises actions by these statistics.

    Args:
        config: shape of the model.
        statistics: statistics of the training data.
        seed: seed of the random weights.
        initial: another model whose weights are copied (see `copy_weights`); weights that it lacks stay as initialised
            (zero, if they add to its function).

    Raises:
        InvalidInputError: `initial` has weights that do not fit this model.
    """
    model = MaskedHWM(config, torch.Generator().manual_seed(seed))
    if initial is not None:
        copy_weights(model, initial)
    model.actions.action_mean.copy_(torch.tensor(statistics.mean))
    model.actions.action_std.copy_(torch.from_numpy(np.maximum(statistics.std, MIN_ACTION_STD)))
    return model
