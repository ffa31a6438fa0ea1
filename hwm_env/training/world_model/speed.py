"""How fast a training is, compared with what its device could do."""

from dataclasses import dataclass
from typing import Self

import torch

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.training.runs.matrix_rate import matrix_rate
from hwm_env.training.world_model.estimate import training_cost
from hwm_env.training.world_model.recipe import TrainingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """The operations of a training step, and the rate at which the device multiplies large matrices."""

    batch_size: int
    step_flops: int
    matrix_rate: float
    """Operations a second, in the precision of the training."""

    @classmethod
    def measured(cls, model: MaskedHWMConfig, config: TrainingConfig, device: torch.device) -> Self:
        """Measures the device; `config` must be resolved for it."""
        dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        return cls(
            batch_size=config.batch_size,
            step_flops=training_cost(model, config, device.type).step_flops,
            matrix_rate=matrix_rate(device, dtype),
        )

    def numbers(self, steps: int, seconds: float) -> dict[str, float]:
        """Returns samples a second, and the share of the matrix rate that the model's operations reach.

        Own predictions, draws and the scene's inputs take time and do not count as operations of the model.
        """
        rate = steps / seconds
        return {"samples_per_s": rate * self.batch_size, "matrix_share": rate * self.step_flops / self.matrix_rate}
