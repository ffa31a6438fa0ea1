"""The fast paths compute the same function as the plain one."""

import pytest
import torch
from einops import rearrange

from hwm_env.model.config import TINY
from hwm_env.model.masked_hwm import MaskedHWM
from tests.model.inputs import random_inputs


@pytest.mark.parametrize("past", [1, 4, 9])
def test_history_and_next_clip_equal_one_plain_pass(model: MaskedHWM, past: int) -> None:
    v_p, v_f, a_p, a_f = random_inputs(model, past=past)
    with torch.no_grad():
        plain = model(v_p, v_f, a_p, a_f)
        history = model.encode_history(rearrange(v_p, "b l t h w -> b t l h w"), a_p)
        digit_logits = model.predict_next(history, v_f[:, :, 0], model.embed_actions(a_f))
        cached = rearrange(model.head.joint(digit_logits), "b l h w v -> l b 1 h w v")
    assert torch.allclose(plain, cached, atol=1e-5)


@pytest.mark.parametrize("target", [0, 1, 4])
def test_a_parallel_target_equals_the_same_clip_predicted_alone(model: MaskedHWM, target: int) -> None:
    """Parallel targets are the function that the simulator calls, for every history length at once."""
    clips = 5
    v_p, v_f, a_p, a_f = random_inputs(model, past=clips, future=clips)
    past, future = (rearrange(v, "b l t h w -> b t l h w") for v in (v_p, v_f))
    actions = torch.cat([a_p[:, :17], a_f], dim=1)
    times = torch.arange(1, clips + 1)
    with torch.no_grad():
        parallel = model.predict(past, future, actions[:, : 17 * clips], a_f, times, parallel_targets=True)
        alone = model.predict(
            past[:, : target + 1],
            future[:, target : target + 1],
            actions[:, : 17 * (target + 1)],
            a_f[:, 17 * target : 17 * (target + 1)],
            torch.tensor([target + 1]),
            parallel_targets=False,
        )
    assert torch.allclose(parallel[:, target], alone[:, 0], atol=1e-5)


def test_written_out_attention_equals_the_fused_kernel() -> None:
    """Training on the CPU takes the first, inference the second."""
    model = MaskedHWM(TINY, torch.Generator().manual_seed(0))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(2))
    inputs = random_inputs(model)
    with torch.no_grad():
        fused = model(*inputs)
    assert torch.allclose(model(*inputs), fused, atol=1e-5)
