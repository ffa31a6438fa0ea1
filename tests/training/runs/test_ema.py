import copy

import pytest
import torch
from torch import nn

from hwm_env.errors import InvalidInputError
from hwm_env.training.runs.ema import Ema


def moved(module: nn.Linear, value: float) -> nn.Linear:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return module


def averaged(ema: Ema, module: nn.Linear) -> float:
    with ema.applied_to(module):
        return float(module.weight.detach()[0, 0])


def test_follows_the_formula() -> None:
    module = moved(nn.Linear(2, 2), 0.0)
    ema = Ema(module, 0.3)
    expected = 0.0
    for update, value in enumerate([1.0, 2.0, -1.0, 4.0, 5.0, 6.0]):
        ema.update(moved(module, value))
        decay = min(0.3, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * value
        assert averaged(ema, module) == pytest.approx(expected, rel=1e-6)


def test_the_module_gets_its_own_weights_back_even_after_an_error() -> None:
    module = moved(nn.Linear(2, 2), 1.0)
    ema = Ema(module, 0.9)
    moved(module, 5.0)

    def fail_inside() -> None:
        with ema.applied_to(module):
            assert float(module.bias.detach()[0]) == 1.0
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert float(module.bias.detach()[0]) == 5.0
    ema.copy_to(module)
    assert float(module.bias.detach()[0]) == 1.0


def test_goes_on_from_a_saved_state() -> None:
    module = moved(nn.Linear(2, 2), 1.0)
    ema = Ema(module, 0.9)
    ema.update(moved(module, 2.0))
    state = copy.deepcopy(ema.state_dict())
    other = Ema(moved(nn.Linear(2, 2), 7.0), 0.9)
    other.load_state_dict(state)
    for both in (ema, other):
        both.update(moved(module, 3.0))
    assert averaged(ema, module) == averaged(other, module)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_impossible_decays_are_refused(decay: float) -> None:
    with pytest.raises(InvalidInputError, match="decay"):
        Ema(nn.Linear(1, 1), decay)
