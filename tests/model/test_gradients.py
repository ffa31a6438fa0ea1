"""Every parameter gets a gradient."""

import pytest
import torch

from hwm_env.model.masked_hwm import MaskedHWM
from tests.model.inputs import random_inputs
from tests.model.options import named

pytestmark = pytest.mark.slow


def test_gradients_reach_every_parameter(family: list[MaskedHWM]) -> None:
    for index, model in enumerate(family):
        logits = model(*random_inputs(model, batch=1, past=2, seed=index))
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(index), dtype=logits.dtype)
        names, parameters = zip(*model.named_parameters(), strict=True)
        gradients = torch.autograd.grad((logits * weights).sum(), parameters, allow_unused=True)
        dead = {name for name, g in zip(names, gradients, strict=True) if g is None or not g.any()}
        assert dead == set(), named(model)
