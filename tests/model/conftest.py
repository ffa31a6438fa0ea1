from dataclasses import replace

import pytest
import torch

from hwm_env.model.config import TINY
from hwm_env.model.masked_hwm import MaskedHWM
from tests.model.inputs import awake


@pytest.fixture(params=[0, 1, 2], ids=["all shared", "half shared", "nothing shared"])
def model(request: pytest.FixtureRequest) -> MaskedHWM:
    config = replace(TINY, shared_layers_start=request.param)
    return awake(MaskedHWM(config, torch.Generator().manual_seed(0)))
