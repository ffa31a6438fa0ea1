"""Parallel targets equal single predictions for every history length, or are refused."""

import pytest
import torch

from hwm_env.errors import InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from tests.model.inputs import random_inputs
from tests.model.options import named

pytestmark = pytest.mark.slow

CLIPS = 3
NEEDED = ("clip_causal", "time", "grid")


def test_each_target_equals_the_same_clip_predicted_alone(family: list[MaskedHWM]) -> None:
    for index, model in enumerate(family):
        config = model.config
        inputs = random_inputs(model, past=CLIPS, future=CLIPS, seed=index)
        past, future = inputs.v_p.transpose(1, 2), inputs.v_f.transpose(1, 2)
        a_p, a_f = inputs.a_p, inputs.a_f
        times = torch.arange(1, CLIPS + 1)
        with torch.no_grad():
            if (config.temporal_mask, config.temporal_positions, config.position_embedding) != NEEDED:
                with pytest.raises(
                    InvalidInputError, match=r"temporal_mask .* temporal_positions .* position_embedding"
                ):
                    model.predict(past, future, a_p, a_f, times, parallel_targets=True)
                continue
            parallel = model.predict(past, future, a_p, a_f, times, parallel_targets=True)
            for target in range(CLIPS):
                alone = model.predict(
                    past[:, : target + 1],
                    future[:, target : target + 1],
                    a_p[:, : 17 * (target + 1)],
                    a_f[:, 17 * target : 17 * (target + 1)],
                    torch.tensor([target + 1]),
                    parallel_targets=False,
                )
                assert torch.allclose(parallel[:, target], alone[:, 0], atol=1e-9), f"{target}: {named(model)}"
