"""The network against the naive one, for every combination of the options."""

import pytest
import torch

from hwm_env.model.masked_hwm import MaskedHWM
from tests.model.inputs import random_inputs
from tests.model.options import OPTIONS, combinations, example, named
from tests.naive import naive_logits

WITHIN_A_CLIP = {
    "past_latents": (1, 2),
    **{
        field: choices
        for field, choices in OPTIONS.items()
        if field not in ("latent_layout", "stream_type_embedding", "action_injection", "token_embedding", "spatial_mlp")
    },
}


def check(model: MaskedHWM, past: int, future: int, seed: int) -> None:
    inputs = random_inputs(model, past=past, future=future, seed=seed)
    with torch.no_grad():
        logits, expected = model(*inputs), naive_logits(model, *inputs)
    assert logits.shape == expected.shape
    assert torch.allclose(logits, expected, atol=1e-9), named(model)


def test_forward_equals_the_naive_network(family: list[MaskedHWM]) -> None:
    for index, model in enumerate(family):
        check(model, past=1 + index % 3, future=1 + index // 3 % 3, seed=index)


@pytest.mark.slow
def test_completing_a_clip_equals_the_naive_network() -> None:
    for index, config in enumerate(
        combinations(WITHIN_A_CLIP, latent_layout="sequential", num_past_clips=1, num_future_clips=1)
    ):
        check(example(config), past=1, future=1, seed=index)
