from dataclasses import replace

import pytest
import torch

from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from tests.combinations import Cover
from tests.model.inputs import awake
from tests.model.options import FAMILIES, example, members


@pytest.fixture(params=[0, 1, 2], ids=["all shared", "half shared", "nothing shared"])
def model(request: pytest.FixtureRequest) -> MaskedHWM:
    config = replace(TINY, shared_layers_start=request.param)
    return awake(MaskedHWM(config, torch.Generator().manual_seed(0)))


@pytest.fixture(scope="session", params=FAMILIES, ids="-".join)
def family(request: pytest.FixtureRequest, cover: Cover) -> list[MaskedHWM]:
    """One of 16 families that together have the combinations of the options. Shared: do not change it."""
    return [example(config) for config in members(request.param, cover)]
