"""The fields that all recipes share: number of steps, learning rate as a function of the step, and precision."""

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from hwm_env.fields import CheckedFields, Count, CountOrZero, Positive, Share
from hwm_env.precision import TrainingPrecision, resolve_precision

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule(CheckedFields):
    """A schedule of the learning rate: linear warm-up, a plateau, then a cosine decay."""

    steps: Count = 1000
    """Optimizer steps."""
    warmup_steps: CountOrZero = 50
    """Steps of linear warm-up; step `warmup_steps - 1` is the first at the peak."""
    hold_share: Share = 0.3
    """Share of all steps (warm-up included) before the decay."""
    final_share: Share = 0.03
    """Learning rate of the last step, as a share of the peak."""

    def share_at(self, step: float) -> float:
        """Returns the learning rate of a step (counted from 0) as a share of the peak; also between two steps."""
        assert 0 <= step < self.steps, f"step {step} of {self.steps}"
        if step < self.warmup_steps:
            return min(1.0, (step + 1) / self.warmup_steps)
        decay_start = max(self.hold_share * self.steps, self.warmup_steps)
        if step <= decay_start:
            return 1.0
        progress = (step - decay_start) / (self.steps - 1 - decay_start)
        return self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(Schedule):
    """A schedule, the time that a training may take, and its precision."""

    minutes: Positive | None = None
    """Train for this time instead of for `steps`; the schedule of `steps` steps is stretched over it."""
    precision: TrainingPrecision = "auto"
    """Number type of the matrix products: "auto" is bfloat16 on GPUs and processors with bfloat16 in hardware
    (AVX512-BF16, AMX, ARM's BF16), and float32 elsewhere, which is many times faster there."""

    def resolved(self, device: "torch.device | str", *, log: bool = True) -> Self:
        """Returns the recipe for this device, as the run stores it: "auto" is replaced.

        Args:
            device: device to train on.
            log: whether to log the replacement of "auto".
        """
        precision = resolve_precision(self.precision, device)
        if self.precision == "auto" and log:
            has = "has" if precision == "bfloat16" else "does not have"
            logger.info("precision: %s, since the device (%s) %s bfloat16 in hardware", precision, device, has)
        return replace(self, precision=precision)
