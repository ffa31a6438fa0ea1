"""The future video sees each action, all of the past and itself, and nothing that the mask hides."""

from dataclasses import replace

import pytest
import torch

from hwm_env.errors import InvalidInputError
from hwm_env.model import masking
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from tests.model.inputs import Inputs, awake, random_inputs

ROUNDING = 1e-5
VISIBLE = 1e-4


def largest_change(model: MaskedHWM, before: Inputs, after: Inputs, clip: int) -> float:
    """Returns the largest change of a future clip's logits, the smallest over rows and grid positions."""
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


@pytest.fixture(params=["patch", "pooled"])
def attention_only(request: pytest.FixtureRequest) -> MaskedHWM:
    """Returns a model whose actions act only through joint temporal attention."""
    config = replace(TINY, num_layers=3, action_injection="attention", temporal_scope=request.param)
    return awake(MaskedHWM(config, torch.Generator().manual_seed(0)))


def test_actions_reach_the_video_through_attention_alone(attention_only: MaskedHWM) -> None:
    inputs = random_inputs(attention_only)
    assert largest_change(attention_only, inputs, with_other_chunk(inputs, "a_f", 0), 0) > VISIBLE
    assert largest_change(attention_only, inputs, with_other_chunk(inputs, "a_p", 1), 0) > VISIBLE


def test_a_mask_by_index_is_caught(attention_only: MaskedHWM, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a causal mask by index in [v_p, v_f, a_p, a_f], video would see no action."""

    def by_index(past_times: torch.Tensor, future_times: torch.Tensor, *, parallel_targets: bool) -> torch.Tensor:
        length = 2 * (len(past_times) + len(future_times))
        return torch.ones(length, length, dtype=torch.bool).tril()

    monkeypatch.setattr(masking, "clip_causal_visibility", by_index)
    inputs = random_inputs(attention_only)
    assert any_change(attention_only, inputs, with_other_chunk(inputs, "a_f", 0), 0) < ROUNDING
    assert any_change(attention_only, inputs, with_other_chunk(inputs, "a_p", 0), 0) < ROUNDING


def test_rows_do_not_depend_on_each_other(model: MaskedHWM) -> None:
    inputs = random_inputs(model, batch=3)
    alone = Inputs(*(stream[1:2] for stream in inputs))
    with torch.no_grad():
        assert torch.allclose(model(*inputs)[:, 1:2], model(*alone), atol=1e-5)


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


@pytest.mark.parametrize(
    ("past", "future", "message"),
    [
        (5, 1, r"the past must have 1 to 4 clips \(num_past_clips\), got 5; leave out the oldest"),
        (4, 3, r"the future must have 1 to 2 clips \(num_future_clips\), got 3; leave out the last"),
        (0, 1, "the past must have 1 to 4 clips"),
    ],
)
def test_clips_beyond_the_window_are_refused(past: int, future: int, message: str) -> None:
    model = MaskedHWM(replace(TINY, num_past_clips=4, num_future_clips=2))
    with pytest.raises(InvalidInputError, match=message):
        model(*random_inputs(model, past=past, future=future))


@pytest.mark.parametrize("known", [1, 2])
def test_a_model_that_completes_a_clip_takes_its_parts(known: int) -> None:
    config = replace(TINY, latent_layout="sequential", past_latents=known, num_past_clips=1, num_future_clips=1)
    model = MaskedHWM(config)
    inputs = random_inputs(model)
    assert model(*inputs).shape == (3 - known, 2, 1, *TINY.grid_size, TINY.codebook_size)
    with pytest.raises(
        InvalidInputError, match=f"past video must have shape .2, {known}, 1, 2, 3., got .2, 3, 1, 2, 3."
    ):
        model(*inputs._replace(v_p=torch.zeros(2, 3, 1, 2, 3, dtype=torch.long)))
    with pytest.raises(InvalidInputError, match="past actions must have shape"):
        model(*inputs._replace(a_p=torch.zeros(2, 17, 25)))
