"""Optimises the matrices inside a network with Muon and all other weights with AdamW, as one optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

ELEMENTS_AT_ONCE = 2**24
"""Most elements of matrices that are orthogonalised together: 64 MB."""


class GroupedMuon(torch.optim.Muon):
    """Muon that orthogonalises matrices of equal shape together, in float32 or bfloat16.

    PyTorch's Muon takes one matrix at a time, always in bfloat16: on a GPU, the many small products take longer than
    the rest of a step, and so does bfloat16 on hardware without it.

    Attributes:
        dtype: number type of the products.
    """

    dtype: torch.dtype = torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates the weights, with PyTorch's settings and state."""
        assert closure is None, "a closure"
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            gradients = [weight.grad for weight in weights]
            for weight in weights:
                if "momentum_buffer" not in self.state[weight]:
                    self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
            means = [self.state[weight]["momentum_buffer"] for weight in weights]
            updates = []
            for gradient, mean in zip(gradients, means, strict=True):
                mean.lerp_(gradient, 1 - group["momentum"])
                updates.append((gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean).to(self.dtype))
            for indices in _of_equal_shape(updates):
                parts = [updates[index] for index in indices]
                # Sharded matrices cannot be stacked.
                together = torch.stack(parts) if len(parts) > 1 else parts[0]
                done = orthogonalised(together, group["ns_coefficients"], group["ns_steps"], group["eps"])
                for index, update in zip(indices, done.unbind() if len(parts) > 1 else [done], strict=True):
                    weight = weights[index]
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    scale = group["lr"] * max(1, weight.shape[0] / weight.shape[1]) ** 0.5
                    weight.add_(update, alpha=-scale)


def _of_equal_shape(matrices: Sequence[Tensor]) -> list[list[int]]:
    """Returns the indices of matrices that are stacked."""
    groups: dict[torch.Size, list[list[int]]] = {}
    for index, matrix in enumerate(matrices):
        of_shape = groups.setdefault(matrix.shape, [])
        most = 1 if isinstance(matrix, DTensor) else max(1, ELEMENTS_AT_ONCE // matrix.numel())
        if not of_shape or len(of_shape[-1]) == most:
            of_shape.append([])
        of_shape[-1].append(index)
    return [indices for of_shape in groups.values() for indices in of_shape]


def orthogonalised(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Returns approximately the nearest orthogonal matrices by Muon's Newton-Schulz iteration, in the given type.

    Args:
        matrices: float [m, n] or [k, m, n].
        coefficients: of the iteration's polynomial.
        steps: number of iterations.
        eps: smallest norm of a matrix.
    """
    a, b, c = coefficients
    is_high = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if is_high else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.mT if is_high else x


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
            muon = GroupedMuon(inner, lr=matrix_learning_rate, weight_decay=weight_decay)
            muon.dtype = torch.bfloat16 if in_bfloat16 else torch.float32
            self.members.append(muon)
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
