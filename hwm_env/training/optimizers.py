"""Muon for the matrices inside a network, AdamW for everything else, driven as one optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn


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
    ) -> None:
        """Divides the parameters.

        Args:
            module: what to train.
            is_inner: whether the matrix of this name goes to Muon.
            matrix_learning_rate: peak of Muon; None: AdamW trains everything.
            learning_rate: peak of AdamW.
            betas: decay rates of AdamW.
            weight_decay: of both.
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
            self.members.append(torch.optim.Muon(inner, lr=matrix_learning_rate, weight_decay=weight_decay))
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
