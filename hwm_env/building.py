"""Builds modules whose weights are loaded afterwards, and checks what is loaded."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)

_DRAWS: Final = (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)
_ALLOCATIONS: Final = (torch.empty, torch.zeros, torch.ones, torch.randn)
_SCALINGS: Final = (Tensor.mul, Tensor.div)


class _WithoutDraws(TorchFunctionMode):
    """Leaves random tensors as they were allocated."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        if function in _DRAWS:
            return arguments[0] if arguments else (named or {})["tensor"]
        return (torch.empty if function is torch.randn else function)(*arguments, **(named or {}))


class _WithoutMemory(_WithoutDraws):
    """Allocates weights on the meta device, which has no memory.

    Everything else, such as angles of positions, is computed on the CPU: on the meta device, much of it would import
    PyTorch's compiler, which takes a second.
    """

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        if function in _ALLOCATIONS:
            named = {**(named or {}), "device": "meta"}
        elif function in _SCALINGS and arguments[0].is_meta and not isinstance(arguments[1], Tensor):
            return arguments[0]
        return super().__torch_function__(function, types, arguments, named)


def built(make: Callable[..., Module], *configs: object) -> Module:
    """Builds the module of some configs; weights that are drawn at random otherwise have arbitrary values."""
    with _WithoutDraws():
        return make(*configs)


@lru_cache
def shapes_of(make: Callable[..., nn.Module], *configs: Hashable) -> Mapping[str, torch.Size]:
    """Returns the shapes of the weights of the module of some configs, without allocating memory for them."""
    with _WithoutMemory():
        return {name: weight.shape for name, weight in make(*configs).state_dict().items()}


def misfits(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> str:
    """Describes in which names and shapes weights differ from a module's; empty if in none."""
    missing, surplus = sorted(shapes.keys() - weights.keys()), sorted(weights.keys() - shapes.keys())
    misshapen = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(shapes[name])}"
        for name in sorted(shapes.keys() & weights.keys())
        if weights[name].shape != shapes[name]
    ]
    parts = {"missing": missing, "surplus": surplus, "misshapen": misshapen}
    return "; ".join(f"{kind} tensors {names[:5]}" for kind, names in parts.items() if names)


def all_finite(tensor: Tensor) -> bool:
    """Returns whether a tensor of any type has neither NaN nor infinity."""
    if tensor.is_floating_point() and tensor.numel() > 0:
        # Extremes are found many times as fast as `isfinite` answers for float16; PyTorch has neither for float8.
        extremes = (tensor.float() if tensor.element_size() == 1 else tensor).aminmax()
        return all(bool(extreme.isfinite()) for extreme in extremes)
    return bool(tensor.isfinite().all())
