"""A history that is encoded once predicts what one pass over all clips predicts, or is refused."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import hwm_env.model.masked_hwm as masked_hwm_module
from hwm_env.decoding.cache import next_clip
from hwm_env.errors import InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from hwm_env.types import FRAMES_PER_CLIP
from tests.model.inputs import Inputs, random_inputs
from tests.model.options import SMALL, example, named


def cached_logits(model: MaskedHWM, inputs: Inputs) -> list[Tensor]:
    """Returns what `forward` returns for one future clip, at the first and at a later decoding step."""
    past, actions = inputs.v_p.transpose(1, 2), inputs.a_p.unflatten(1, (-1, FRAMES_PER_CLIP))
    predict = next_clip(model, past, actions, inputs.a_f)
    features = [predict(inputs.v_f[:, :, 0]) for _ in range(2)]
    return [model.head.joint(model.head(f.unsqueeze(1))).permute(2, 0, 1, 3, 4, 5) for f in features]


@pytest.mark.slow
def test_a_cached_history_equals_one_pass(family: list[MaskedHWM], monkeypatch: pytest.MonkeyPatch) -> None:
    """The history is encoded at once, or clip by clip."""
    for index, model in enumerate(family):
        inputs = random_inputs(model, past=1 + index % SMALL.num_past_clips, seed=index)
        with torch.no_grad():
            if model.config.temporal_mask == "bidirectional":
                with pytest.raises(InvalidInputError, match="temporal_mask 'clip_causal'"):
                    model.encode_history(inputs.v_p.transpose(1, 2), inputs.a_p)
            monkeypatch.setattr(masked_hwm_module, "VECTORS_AT_ONCE", 8192 if index % 2 else 1)
            for logits in cached_logits(model, inputs):
                assert torch.allclose(logits, model(*inputs), atol=1e-9), named(model)


@pytest.mark.parametrize("clips_at_once", [1, 2, 3, 4, 9])
def test_slices_of_any_length_give_the_same_history(monkeypatch: pytest.MonkeyPatch, clips_at_once: int) -> None:
    model = example(replace(TINY, latent_layout="sequential"))
    inputs = random_inputs(model, past=9)
    with torch.no_grad():
        whole = model.encode_history(inputs.v_p.transpose(1, 2), inputs.a_p)
        monkeypatch.setattr(masked_hwm_module, "VECTORS_AT_ONCE", clips_at_once * len(inputs.v_p) * TINY.num_positions)
        sliced = model.encode_history(inputs.v_p.transpose(1, 2), inputs.a_p)
    assert len(sliced.clips) == 9
    for clip, expected_clip in zip(sliced.clips, whole.clips, strict=True):
        for field, expected in zip(clip, expected_clip, strict=True):
            assert torch.allclose(field, expected, atol=1e-9)


def test_a_model_that_completes_a_clip_has_no_history() -> None:
    model = example(replace(SMALL, latent_layout="sequential", past_latents=2, num_past_clips=1, num_future_clips=1))
    inputs = random_inputs(model)
    with pytest.raises(InvalidInputError, match="past_latents None"):
        model.encode_history(inputs.v_p.transpose(1, 2), inputs.a_p)


def test_written_out_attention_equals_the_fused_kernel(model: MaskedHWM) -> None:
    """Training on the CPU uses the first, inference the second."""
    inputs = random_inputs(model)
    with torch.no_grad():
        fused = model(*inputs)
    assert torch.allclose(model(*inputs), fused, atol=1e-5)
