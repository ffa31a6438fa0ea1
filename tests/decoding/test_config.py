"""Settings that are out of range, or that a model does not support, are refused by name."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from hwm_env.decoding.config import DecodingConfig
from hwm_env.errors import InvalidInputError
from hwm_env.model.presets import TINY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"temperature": -0.1}, "temperature .* got -0.1"),
        ({"temperature": math.nan}, "temperature .* got nan"),
        ({"temperature": math.inf}, "temperature .* got inf"),
        ({"order": "x"}, "order must be one of 'confidence', 'random' or 'halton', got 'x'"),
        ({"top_k": 0}, "top_k must be at least 1 or None, got 0"),
        ({"top_p": 0.0}, "top_p must be above 0, got 0.0"),
        ({"top_p": 1.1}, "top_p .* got 1.1"),
        ({"top_p": math.nan}, "top_p .* got nan"),
        ({"history": "x"}, "history must be one of 'window' or 'streaming', got 'x'"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    make: Callable[..., DecodingConfig] = DecodingConfig
    with pytest.raises(InvalidInputError, match=message):
        make(**change)


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("temporal_mask", "bidirectional", "temporal_mask='clip_causal'"),
        ("temporal_positions", "concat", "temporal_positions='time'"),
        ("position_embedding", "window", "position_embedding='grid'"),
    ],
)
def test_streaming_needs_encodings_that_do_not_change(field: str, value: str, remedy: str) -> None:
    message = f"history 'streaming' .*{field} '{value}'.*choose history='window', or a model with {remedy}"
    model = replace(TINY, **{field: value})
    with pytest.raises(InvalidInputError, match=message):
        DecodingConfig(history="streaming").check_model(model)
    DecodingConfig(history="window").check_model(model)


def test_more_steps_than_tokens_are_refused() -> None:
    DecodingConfig(steps=18).check_model(TINY)
    with pytest.raises(
        InvalidInputError, match=r"steps 19 .* 18 tokens .* grid_size \(2, 3\); choose at most 18 steps"
    ):
        DecodingConfig(steps=19).check_model(TINY)


def test_a_model_that_completes_a_clip_cannot_be_simulated() -> None:
    model = replace(TINY, past_latents=2, latent_layout="sequential", num_past_clips=1, num_future_clips=1)
    with pytest.raises(InvalidInputError, match=r"past_latents 2 .*with past_latents=None"):
        DecodingConfig().check_model(model)
