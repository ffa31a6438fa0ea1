"""Muon in float32 computes the same as PyTorch's in bfloat16, but exactly."""

import copy

import pytest
import torch
from torch import nn

from hwm_env.training.runs.optimizers import GroupedMuon


@pytest.fixture
def weights() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in ((24, 8), (8, 24), (16, 16), (8, 24), (4, 4))]


def stepped(optimizer: torch.optim.Optimizer, steps: int = 3) -> list[nn.Parameter]:
    """Returns the weights after steps with their own gradients; the last weight never has one."""
    (group,) = optimizer.param_groups
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for weight in group["params"][:-1]:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    return group["params"]


def both(weights: list[nn.Parameter], **options: float) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    return (
        stepped(GroupedMuon(copy.deepcopy(weights), lr=0.1, weight_decay=0.05, **options)),
        stepped(torch.optim.Muon(copy.deepcopy(weights), lr=0.1, weight_decay=0.05, **options)),
    )


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "momentum": 0.8, "ns_steps": 3}], ids=str)
def test_it_is_pytorchs_where_that_does_not_round(
    weights: list[nn.Parameter], monkeypatch: pytest.MonkeyPatch, options: dict[str, float]
) -> None:
    exact, rounded = both(weights, **options)
    for one, other, before in list(zip(exact, rounded, weights, strict=True))[:-1]:
        assert 0 < (one - other).norm() < 0.03 * (one - before).norm()
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    torch.testing.assert_close(*both(weights, **options), rtol=1e-5, atol=1e-6)


def test_a_weight_without_gradient_stays(weights: list[nn.Parameter]) -> None:
    *moved, still = both(weights)[0]
    assert torch.equal(still, weights[-1])
    assert not any(torch.equal(one, before) for one, before in zip(moved, weights[:-1], strict=True))


def test_states_go_from_one_to_the_other(weights: list[nn.Parameter]) -> None:
    one, other = GroupedMuon(weights), torch.optim.Muon(copy.deepcopy(weights))
    stepped(one)
    other.load_state_dict(one.state_dict())
    assert other.state_dict().keys() == one.state_dict().keys()
    torch.testing.assert_close(other.state_dict()["state"], one.state_dict()["state"], rtol=0, atol=0)
