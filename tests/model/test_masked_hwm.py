"""What the future video sees: each action, all of the past, itself, and nothing that the mask hides."""

from dataclasses import replace

import pytest
import torch

import hwm_env.model.masked_hwm as masked_hwm_module
from hwm_env.errors import InvalidInputError
from hwm_env.model.config import TINY
from hwm_env.model.masked_hwm import MaskedHWM
from tests.model.inputs import Inputs, awake, random_inputs

ROUNDING = 1e-5
VISIBLE = 1e-4


def largest_change(model: MaskedHWM, before: Inputs, after: Inputs, clip: int) -> float:
    """Largest change of any logit of one future clip; smallest over the batch's worlds and grid positions."""
    with torch.no_grad():
        change = (model(*before) - model(*after)).abs()[:, :, clip]
    return change.amax(dim=(0, -1)).amin().item()


def any_change(model: MaskedHWM, before: Inputs, after: Inputs, clip: int) -> float:
    with torch.no_grad():
        return (model(*before) - model(*after)).abs()[:, :, clip].max().item()


def with_other_chunk(inputs: Inputs, stream: str, clip: int) -> Inputs:
    actions = getattr(inputs, stream).clone()
    actions[:, 17 * clip : 17 * (clip + 1)] += 1.0
    return inputs._replace(**{stream: actions})


def test_the_output_has_the_shape_of_the_contract_and_is_normalised(model: MaskedHWM) -> None:
    logits = model(*random_inputs(model, batch=2, past=3, future=2))
    assert logits.shape == (3, 2, 2, *TINY.grid_size, TINY.codebook_size)
    assert torch.allclose(logits.exp().sum(-1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("clip", [0, 1, 2])
def test_every_future_position_sees_its_own_actions(model: MaskedHWM, clip: int) -> None:
    inputs = random_inputs(model, future=3)
    assert largest_change(model, inputs, with_other_chunk(inputs, "a_f", clip), clip) > VISIBLE


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_every_future_position_sees_past_actions(model: MaskedHWM, chunk: int) -> None:
    inputs = random_inputs(model)
    assert largest_change(model, inputs, with_other_chunk(inputs, "a_p", chunk), 0) > VISIBLE


def test_actions_of_earlier_future_clips_are_seen_and_later_ones_are_not(model: MaskedHWM) -> None:
    inputs = random_inputs(model, future=3)
    other = with_other_chunk(inputs, "a_f", 1)
    assert largest_change(model, inputs, other, 2) > VISIBLE
    assert any_change(model, inputs, other, 0) < ROUNDING


def test_video_of_later_clips_is_not_seen(model: MaskedHWM) -> None:
    inputs = random_inputs(model, future=2)
    v_f = inputs.v_f.clone()
    v_f[:, :, 1] = (v_f[:, :, 1] + 1) % model.config.codebook_size
    other = inputs._replace(v_f=v_f)
    assert any_change(model, inputs, other, 0) < ROUNDING
    assert any_change(model, inputs, other, 1) > VISIBLE


@pytest.mark.parametrize("clip", [0, 1, 2])
def test_each_past_clip_is_seen(model: MaskedHWM, clip: int) -> None:
    inputs = random_inputs(model)
    v_p = inputs.v_p.clone()
    v_p[:, :, clip] = (v_p[:, :, clip] + 1) % model.config.codebook_size
    assert largest_change(model, inputs, inputs._replace(v_p=v_p), 0) > VISIBLE


def test_actions_reach_the_video_through_attention_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the norms' modulation and the added embedding taken away, attention must still carry the actions."""
    model = attention_only(monkeypatch)
    inputs = random_inputs(model)
    assert largest_change(model, inputs, with_other_chunk(inputs, "a_f", 0), 0) > VISIBLE
    assert largest_change(model, inputs, with_other_chunk(inputs, "a_p", 1), 0) > VISIBLE


def test_a_mask_by_index_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap: masked causally by index in [v_p, v_f, a_p, a_f], video sees no action at all."""

    def by_index(past_times: torch.Tensor, future_times: torch.Tensor, *, parallel_targets: bool) -> torch.Tensor:
        length = 2 * (len(past_times) + len(future_times))
        return torch.ones(length, length, dtype=torch.bool).tril()

    model = attention_only(monkeypatch)
    monkeypatch.setattr(masked_hwm_module, "clip_causal_visibility", by_index)
    inputs = random_inputs(model)
    assert any_change(model, inputs, with_other_chunk(inputs, "a_f", 0), 0) < ROUNDING
    assert any_change(model, inputs, with_other_chunk(inputs, "a_p", 0), 0) < ROUNDING


def attention_only(monkeypatch: pytest.MonkeyPatch) -> MaskedHWM:
    """A model whose actions act only as tokens of joint temporal attention."""
    model = awake(MaskedHWM(replace(TINY, num_layers=3), torch.Generator().manual_seed(0)))
    for block in model.blocks:
        torch.nn.init.zeros_(block.modulation.weight)
    embed, run = model.tokens.forward, model._run

    def run_without_condition(tokens: torch.Tensor, condition: torch.Tensor, *rest: object) -> object:
        monkeypatch.setattr(model.tokens, "forward", lambda t: embed(t) - condition.unsqueeze(2))
        return run(tokens, condition, *rest)

    monkeypatch.setattr(model, "_run", run_without_condition)
    return model


def test_worlds_of_a_batch_do_not_touch_each_other(model: MaskedHWM) -> None:
    inputs = random_inputs(model, batch=3)
    alone = Inputs(*(stream[1:2] for stream in inputs))
    with torch.no_grad():
        assert torch.allclose(model(*inputs)[:, 1:2], model(*alone), atol=1e-5)


def test_gradients_reach_every_parameter() -> None:
    model = awake(MaskedHWM(TINY, torch.Generator().manual_seed(0))).train()
    model(*random_inputs(model, past=3, future=2))[..., 0].sum().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = (MaskedHWM(TINY, torch.Generator().manual_seed(3)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("stream", "shape", "message"),
    [
        ("v_p", (2, 2, 3, 2, 3), "past video must have shape"),
        ("v_f", (2, 3, 1, 4, 3), "future video must have shape"),
        ("a_p", (2, 50, 25), "past actions must have shape"),
        ("a_f", (2, 17, 24), "future actions must have shape"),
    ],
)
def test_wrong_shapes_are_named(stream: str, shape: tuple[int, ...], message: str) -> None:
    model = MaskedHWM(TINY)
    inputs = random_inputs(model)._replace(**{stream: torch.zeros(shape, dtype=torch.long)})
    with pytest.raises(InvalidInputError, match=message):
        model(*inputs)


def test_too_long_a_past_is_refused() -> None:
    model = MaskedHWM(TINY)
    with pytest.raises(InvalidInputError, match="1 to 9 clips, got 10"):
        model(*random_inputs(model, past=10))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 18),
        ("num_heads", 8),
        ("num_layers", 0),
        ("shared_layers_start", 3),
        ("fsq_levels", (1, 8)),
        ("grid_size", (0, 4)),
    ],
)
def test_a_configuration_that_cannot_work_names_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=field):
        replace(TINY, **{field: value})
