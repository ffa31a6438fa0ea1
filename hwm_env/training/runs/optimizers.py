"""Optimises the matrices inside a network with Muon and all other weights with AdamW, as one optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Float32Muon(torch.optim.Muon):
    """Muon that multiplies in float32.

    PyTorch's Muon multiplies in bfloat16, which takes longer than the rest of a step on hardware without bfloat16.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates the weights, with PyTorch's settings and state."""
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
    """Returns approximately the nearest orthogonal matrix by Muon's Newton-Schulz iteration, in the matrix's type."""
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
    network's inner matrices; layers that read inputs or write outputs, and weights that are not matrices, use AdamW.

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
        """Divides the parameters between the optimizers.

        Args:
            module: the module to train.
            is_inner: returns whether Muon trains the matrix of a name.
            matrix_learning_rate: peak learning rate of Muon; `None` if AdamW trains everything.
            learning_rate: peak learning rate of AdamW.
            betas: decay rates of AdamW.
            weight_decay: weight decay of both.
            in_bfloat16: whether Muon multiplies in bfloat16 instead of float32.
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
        """Clears the gradients."""
        for optimizer in self.members:
            optimizer.zero_grad()

    def step(self) -> None:
        """Updates the weights."""
        for optimizer in self.members:
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Returns the state of each optimizer."""
        return [optimizer.state_dict() for optimizer in self.members]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Restores what `state_dict` returned."""
        for optimizer, state in zip(self.members, states, strict=True):
            optimizer.load_state_dict(state)
