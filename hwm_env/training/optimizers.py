"""Muon for the matrices inside a network, AdamW for everything else, driven as one optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Float32Muon(torch.optim.Muon):
    """Muon that multiplies in float32.

    PyTorch's multiplies in bfloat16, which takes longer than the whole rest of a step where the hardware does not.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Changes the weights once, with PyTorch's settings and state."""
        assert closure is None, "a closure"
        for group in self.param_groups:
            for weight in group["params"]:
                gradient = weight.grad
                if gradient is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(gradient)
                mean = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
                update = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
                update = orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * max(1, weight.shape[0] / weight.shape[1]) ** 0.5)


def orthogonalised(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About the nearest orthogonal matrix, by Muon's Newton-Schulz iteration, in the matrix's own number type."""
    a, b, c = coefficients
    is_high = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_high else matrix
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if is_high else x


class MuonWithAdamW:
    """One or two optimizers with one schedule.

    Muon (https://kellerjordan.github.io/posts/muon) orthogonalises the momentum of each matrix. It is meant for a
    network's inner matrices; what reads inputs, writes outputs or is not a matrix goes to AdamW.

    Attributes:
        members: the optimizers.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        is_inner: Callable[[str], bool],
        matrix_learning_rate: float | None,
        learning_rate: float,
        betas: tuple[float, float],
        weight_decay: float,
        in_bfloat16: bool,
    ) -> None:
        """Divides the parameters.

        Args:
            module: what to train.
            is_inner: whether the matrix of this name goes to Muon.
            matrix_learning_rate: peak of Muon; None: AdamW trains everything.
            learning_rate: peak of AdamW.
            betas: decay rates of AdamW.
            weight_decay: of both.
            in_bfloat16: whether Muon multiplies in bfloat16; else in float32.
        """
        inner: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in module.named_parameters():
            is_muons = matrix_learning_rate is not None and parameter.ndim == 2 and is_inner(name)
            (inner if is_muons else others).append(parameter)
        self.members: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=learning_rate, betas=betas, weight_decay=weight_decay)
        ]
        self._peaks = [learning_rate]
        if matrix_learning_rate is not None:
            muon = torch.optim.Muon if in_bfloat16 else Float32Muon
            self.members.append(muon(inner, lr=matrix_learning_rate, weight_decay=weight_decay))
            self._peaks.append(matrix_learning_rate)

    def set_learning_rate(self, share: float) -> None:
        """Sets all learning rates to a share of their peaks."""
        for optimizer, peak in zip(self.members, self._peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * share

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for optimizer in self.members:
            optimizer.zero_grad()

    def step(self) -> None:
        """Changes the weights once."""
        for optimizer in self.members:
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """The state of each."""
        return [optimizer.state_dict() for optimizer in self.members]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Undoes `state_dict`."""
        for optimizer, state in zip(self.members, states, strict=True):
            optimizer.load_state_dict(state)
