"""An exponential moving average of a module's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hwm_env.fields import Decay, checked
from hwm_env.training.runs.distributed import sharded_like, whole


class Ema:
    """Averages parameters over about the last `1 / (1 - decay)` updates.

    The decay of update n is at most `(1 + n) / (10 + n)`, so that the average soon forgets the random initial weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Starts from the module's current weights.

        Raises:
            InvalidInputError: `decay` is not in [0, 1).
        """
        checked("the decay of averaged weights", decay, Decay)
        self.decay = decay
        self._num_updates = 0
        self._average = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the average towards the module's weights; call it after each optimizer step."""
        decay = min(self.decay, (1 + self._num_updates) / (10 + self._num_updates))
        self._num_updates += 1
        weights = [parameter.detach() for _, parameter in module.named_parameters()]
        torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Replaces the weights of a module, which must not be sharded, by the average; every process must call it."""
        for name, parameter in module.named_parameters():
            parameter.copy_(whole(self._average[name]))

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Gives the module the averaged weights inside the context, and its own weights afterwards."""
        own = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
        self.copy_to(module)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in module.named_parameters():
                    parameter.copy_(own[name])

    def state_dict(self) -> dict[str, Any]:
        """Returns the whole average and the number of updates."""
        average = {name: whole(tensor).cpu() for name, tensor in self._average.items()}
        return {"average": average, "num_updates": self._num_updates}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned for the same module."""
        average: dict[str, Tensor] = state["average"]
        assert average.keys() == self._average.keys(), f"{sorted(average.keys() ^ self._average.keys())}"
        for name, parameter in self._average.items():
            parameter.copy_(sharded_like(average[name], parameter))
        self._num_updates = int(state["num_updates"])
