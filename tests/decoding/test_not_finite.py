"""A row that is not finite affects no other row, in the whole network and every way to decode."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import hwm_env.decoding.sampling as sampling
from hwm_env.decoding.cache import next_clip
from hwm_env.decoding.config import DecodingConfig, Order
from hwm_env.decoding.maskgit import Decoded, decode_clip
from hwm_env.decoding.noise import row_uniforms
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.precision import convert
from tests.model.options import OPTIONS, SMALL, combinations, example

WORLDS, BROKEN = 3, 1
CPU = torch.device("cpu")


def decoded(model: MaskedHWM, actions: Tensor, chunk: Tensor, config: DecodingConfig) -> Decoded:
    shape = (WORLDS, 3, *model.config.grid_size)
    tokens = torch.randint(12, (WORLDS, 2, *shape[1:]), generator=torch.Generator().manual_seed(0))
    numbers = (config.steps, 3 * model.config.num_positions, len(model.config.head_levels) + 1)
    uniforms = row_uniforms(range(WORLDS), [0] * WORLDS, numbers)
    with torch.no_grad():
        predict = next_clip(model, tokens, actions, chunk)
        return decode_clip(predict, model.head, shape, config, uniforms, CPU)


def check(model: MaskedHWM, config: DecodingConfig, value: float, *, in_history: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    actions = torch.randn(WORLDS, 2, 17, 25, generator=generator)
    chunk = torch.randn(WORLDS, 17, 25, generator=generator)
    whole = decoded(model, actions, chunk, config)
    (actions[BROKEN, 0] if in_history else chunk[BROKEN])[3, 4] = value
    result = decoded(model, actions, chunk, config)
    assert whole.log_prob.isfinite().all()
    for part, expected in zip(result, whole, strict=True):
        assert torch.equal(part[[0, 2]], expected[[0, 2]])
    assert not result.log_prob[BROKEN].isfinite().all()
    assert 0 <= result.tokens.min() <= result.tokens.max() < model.config.codebook_size


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mask", OPTIONS["temporal_mask"])
@pytest.mark.parametrize("scope", OPTIONS["temporal_scope"])
def test_a_broken_action_breaks_its_own_row_only(scope: str, mask: str, value: float) -> None:
    options = {name: OPTIONS[name] for name in ("codebook_head", "latent_layout", "action_injection")}
    orders: list[Order] = ["confidence", "random", "halton"]
    for index, config in enumerate(combinations(options, temporal_scope=scope, temporal_mask=mask)):
        decoding = DecodingConfig(steps=3, temperature=float(index % 2), order=orders[index % 3])
        check(example(config), decoding, value, in_history=index % 2 == 0)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_broken_action_breaks_its_own_row_only_in_a_sliced_softmax(
    monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    for name, size in (("LARGE", 1), ("OUTCOMES_AT_ONCE", 5), ("TOKENS_AT_ONCE", 4)):
        monkeypatch.setattr(sampling, name, size)
    model = example(replace(SMALL, codebook_head="joint"))
    check(model, DecodingConfig(steps=3, temperature=temperature), math.nan, in_history=False)


def test_a_broken_action_breaks_its_own_row_only_in_int8() -> None:
    """Inputs are rounded with one scale per vector, so one that is not finite does not change the others' scales."""
    model = convert(example(SMALL).float(), "int8")
    check(model, DecodingConfig(steps=3, temperature=0.0), math.nan, in_history=False)
