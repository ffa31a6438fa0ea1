"""Gathers and distributes the states of models and optimizers that several processes train together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""Whole states, as one process has them; any number of processes, sharded or not, can resume from them."""


class WeightsState:
    """The weights of a module, which may be wrapped or sharded, as one state."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def state_dict(self) -> dict[str, Any]:
        """Returns the whole weights on the CPU; empty in all processes but the first."""
        return get_model_state_dict(self._module, options=WHOLE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        set_model_state_dict(self._module, state, options=WHOLE)


class OptimizerState:
    """The state of a module's optimizers, by the names of the weights; the module may be wrapped or sharded."""

    def __init__(self, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._module = module
        self._optimizers = tuple(optimizers)

    def state_dict(self) -> dict[str, Any]:
        """Returns the whole state on the CPU; empty in all processes but the first."""
        return get_optimizer_state_dict(self._module, self._optimizers, options=WHOLE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        set_optimizer_state_dict(self._module, self._optimizers, state, options=WHOLE)


def whole(tensor: Tensor) -> Tensor:
    """Returns the whole of a tensor that may be sharded; every process must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Returns this process's part of a whole tensor, sharded like `like`."""
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor
