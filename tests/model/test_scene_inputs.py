"""Scene inputs: the network against the naive one, and encoded histories against one pass."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import hwm_env.model.masked_hwm as masked_hwm_module
from hwm_env.decoding.cache import NextClip
from hwm_env.errors import InvalidInputError
from hwm_env.model.cost import cost_of
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.precision import convert
from hwm_env.model.presets import TINY
from tests.model.inputs import Inputs, awake, random_inputs
from tests.model.options import FAMILY_OPTIONS, SMALL, combinations, example, named
from tests.naive import naive_logits

WIDTH = 5
BY_CLIP_TIME = {"temporal_mask": "clip_causal", "temporal_positions": "time", "position_embedding": "grid"}
LAYOUTS = pytest.mark.parametrize("layout", FAMILY_OPTIONS["latent_layout"])
READING = replace(SMALL, scene_width=WIDTH)


def random_scene(model: MaskedHWM, clips: int, batch: int = 2, seed: int = 0) -> Tensor:
    """Returns random scene inputs [B, T, S, C]."""
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, clips, model.config.num_positions, model.config.scene_width, generator=generator)


@pytest.mark.slow
def test_forward_equals_the_naive_network() -> None:
    options = {**FAMILY_OPTIONS, "action_injection": ("attention", "adaln")}
    for index, config in enumerate(combinations(options, scene_width=WIDTH)):
        model, past, future = example(config), 1 + index % 3, 1 + index // 3 % 3
        inputs, scene = random_inputs(model, past=past, future=future, seed=index), random_scene(model, past + future)
        with torch.no_grad():
            logits = model(*inputs, scene_p=scene[:, :past], scene_f=scene[:, past:])
            assert torch.allclose(logits, naive_logits(model, *inputs, scene=scene), atol=1e-9), named(model)
            without = naive_logits(model, *inputs, scene=torch.zeros_like(scene))
        assert not torch.allclose(logits, without, atol=1e-3), named(model)


def cached_logits(model: MaskedHWM, inputs: Inputs, scene: Tensor) -> Tensor:
    history = model.encode_history(inputs.v_p.transpose(1, 2), inputs.a_p, scene_p=scene[:, :-1])
    context = model.prepare_next(history, inputs.a_f.unsqueeze(1), scene_BTSC=scene[:, -1:])
    digit_logits = model.head(model.next_features(context, inputs.v_f.transpose(1, 2))[0].unsqueeze(1))
    return model.head.joint(digit_logits).permute(2, 0, 1, 3, 4, 5)


@LAYOUTS
@pytest.mark.parametrize("vectors_at_once", [1, 8192])
def test_a_cached_history_equals_one_pass(layout: str, vectors_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_hwm_module, "VECTORS_AT_ONCE", vectors_at_once)
    for config in combinations({"temporal_scope": ("patch", "pooled")}, latent_layout=layout, scene_width=WIDTH):
        model = example(replace(config, temporal_mask="clip_causal"))
        inputs, scene = random_inputs(model, past=3), random_scene(model, 4)
        with torch.no_grad():
            expected = model(*inputs, scene_p=scene[:, :-1], scene_f=scene[:, -1:])
            assert torch.allclose(cached_logits(model, inputs, scene), expected, atol=1e-9), named(model)


@LAYOUTS
def test_the_newest_clip_is_encoded_with_its_scene_inputs(layout: str) -> None:
    (config,) = combinations({}, latent_layout=layout, scene_width=WIDTH, **BY_CLIP_TIME)
    model = example(config)
    inputs, scene = random_inputs(model, past=3), random_scene(model, 4)
    past, chunks = inputs.v_p.transpose(1, 2), torch.stack([inputs.a_p[:, 34:], inputs.a_f], dim=1)
    with torch.no_grad():
        whole = model.encode_history(past, inputs.a_p, scene_p=scene[:, :3])
        history = model.encode_history(past[:, :2], inputs.a_p[:, :34], scene_p=scene[:, :2], num_newer=1)
        predict = NextClip(model, history, past[:, 2], chunks, scene[:, 2:])
        predict(inputs.v_f[:, :, 0])
    for field, expected in zip(predict.history.clips[-1], whole.clips[-1], strict=True):
        assert torch.allclose(field, expected, atol=1e-9)


@LAYOUTS
def test_each_parallel_target_equals_the_same_clip_predicted_alone(layout: str) -> None:
    (config,) = combinations({}, latent_layout=layout, scene_width=WIDTH, **BY_CLIP_TIME)
    model = example(config)
    inputs, scene = random_inputs(model, past=3, future=3), random_scene(model, 4)
    past, future = inputs.v_p.transpose(1, 2), inputs.v_f.transpose(1, 2)
    with torch.no_grad():
        parallel = model.predict(
            *(past, future, inputs.a_p, inputs.a_f, torch.arange(1, 4)),
            parallel_targets=True,
            scene_p=scene[:, :-1],
            scene_f=scene[:, 1:],
        )
        for clip in range(3):
            alone = model.predict(
                past[:, : clip + 1],
                future[:, clip : clip + 1],
                inputs.a_p[:, : 17 * (clip + 1)],
                inputs.a_f[:, 17 * clip : 17 * (clip + 1)],
                torch.tensor([clip + 1]),
                parallel_targets=False,
                scene_p=scene[:, : clip + 1],
                scene_f=scene[:, clip + 1 : clip + 2],
            )
            assert torch.allclose(parallel[:, clip], alone[:, 0], atol=1e-9), f"{clip}: {named(model)}"


def test_an_untrained_model_is_the_one_without_to_the_bit() -> None:
    without, model = (MaskedHWM(config, torch.Generator().manual_seed(0)) for config in (SMALL, READING))
    inputs, scene = random_inputs(model), random_scene(model, 4)
    assert model.state_dict().keys() - without.state_dict().keys() == {"scene.project.weight", "scene.project.bias"}
    assert torch.equal(model(*inputs, scene_p=scene[:, :3], scene_f=scene[:, 3:]), without(*inputs))


def test_half_precision_reads_a_scene() -> None:
    model = awake(MaskedHWM(READING, torch.Generator().manual_seed(0)))
    inputs, scene = random_inputs(model), random_scene(model, 4)
    with torch.no_grad():
        exact = model(*inputs, scene_p=scene[:, :3], scene_f=scene[:, 3:])
        rounded = convert(model, "bfloat16")(*inputs, scene_p=scene[:, :3], scene_f=scene[:, 3:])
    assert torch.allclose(rounded.float(), exact, atol=0.3)


@pytest.mark.slow
def test_its_operations_are_counted() -> None:
    without, cost = cost_of(TINY), cost_of(replace(TINY, scene_width=WIDTH))
    assert cost.embedding_parameters == without.embedding_parameters + (WIDTH + 1) * TINY.width
    products = TINY.num_past_clips * TINY.num_positions * WIDTH * TINY.width
    assert cost.history_flops == without.history_flops + 2 * products
    # What the next clip's passes have in common is computed once.
    assert cost.pass_flops == without.pass_flops
    assert cost_of(replace(TINY, temporal_mask="bidirectional", scene_width=WIDTH)).pass_flops > cost.pass_flops


@pytest.mark.parametrize("given", [{}, {"scene_p": 3}, {"scene_f": 1}, {"scene_p": 2, "scene_f": 1}])
def test_a_model_with_scene_width_needs_scene_inputs_of_every_clip(given: dict[str, int]) -> None:
    model = MaskedHWM(READING)
    with pytest.raises(InvalidInputError, match=r"scene inputs .* must have shape \(2, 4, 6, 5\) .* scene_width 5"):
        model(*random_inputs(model), **{name: random_scene(model, clips) for name, clips in given.items()})
    inputs = random_inputs(model)
    with pytest.raises(InvalidInputError, match=r"scene inputs .* scene_width 5, got None"):
        model.encode_history(inputs.v_p.transpose(1, 2), inputs.a_p)


def test_a_model_without_scene_width_refuses_scene_inputs() -> None:
    model = MaskedHWM(SMALL)
    scene = random_scene(MaskedHWM(READING), 4)
    with pytest.raises(InvalidInputError, match="scene inputs must be None for a model with scene_width 0"):
        model(*random_inputs(model), scene_p=scene[:, :3], scene_f=scene[:, 3:])


def test_impossible_widths_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="scene_width must be at least 0, got -1"):
        replace(SMALL, scene_width=-1)
    with pytest.raises(InvalidInputError, match="scene inputs describe whole clips, got scene_width 5"):
        replace(READING, latent_layout="sequential", past_latents=1, num_past_clips=1, num_future_clips=1)
