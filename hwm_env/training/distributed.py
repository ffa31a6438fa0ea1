"""What differs when several processes train one model: states that are in pieces, brought together and parted again."""

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
"""States as one process has them: any number of processes, sharded or not, can go on from them."""


class WeightsState:
    """The weights of a module that may be wrapped or sharded, as one state."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def state_dict(self) -> dict[str, Any]:
        """Whole weights, on the CPU; empty in all processes but the first."""
        return get_model_state_dict(self._module, options=WHOLE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undoes `state_dict`."""
        set_model_state_dict(self._module, state, options=WHOLE)


class OptimizerState:
    """The state of optimizers of a module that may be wrapped or sharded, by the names of the weights."""

    def __init__(self, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._module = module
        self._optimizers = tuple(optimizers)

    def state_dict(self) -> dict[str, Any]:
        """The whole state, on the CPU; empty in all processes but the first."""
        return get_optimizer_state_dict(self._module, self._optimizers, options=WHOLE)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undoes `state_dict`."""
        set_optimizer_state_dict(self._module, self._optimizers, state, options=WHOLE)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be sharded; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """The part of a whole tensor that this process has of `like`."""
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor
