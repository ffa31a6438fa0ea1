"""A configuration that cannot work is refused with its fields and a remedy."""

import math
import re
from dataclasses import replace

import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.model.presets import TINY
from tests.model.options import OPTIONS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_heads", 0),
        ("width", 0),
        ("mlp_width", 0),
        ("num_layers", 0),
        ("shared_layers_start", 3),
        ("shared_layers_start", -1),
        ("fsq_levels", ()),
        ("fsq_levels", (2**31,)),
        ("grid_size", [4, 4]),
        ("num_layers", 10**9),
        ("num_layers", 2.5),
        ("num_layers", True),
        ("rope_base", math.nan),
        ("spatial_mlp", 1),
        ("num_past_clips", 0),
        ("num_past_clips", 10),
        ("num_future_clips", 0),
        ("num_future_clips", 9),
    ],
)
def test_a_number_out_of_range_names_its_field_and_the_value(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"{field} .*got {re.escape(str(value))}"):
        replace(TINY, **{field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("fsq_levels", (1, 8), r"fsq_levels\[0\] must be at least 2, got 1"),
        ("width", "16", "width must be a whole number, got '16'"),
        ("grid_size", (4,), r"grid_size\[1\] must be given, got \(4,\)"),
        ("grid_size", (0, 4), r"grid_size\[0\] must be at least 1, got 0"),
        ("grid_size", (4, "4"), r"grid_size\[1\] must be a whole number, got '4'"),
    ],
)
def test_values_of_the_wrong_kind_are_named_with_their_place(field: str, value: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        replace(TINY, **{field: value})


@pytest.mark.parametrize(("width", "num_heads"), [(18, 2), (20, 2), (16, 3), (12, 6)])
def test_heads_whose_width_is_no_multiple_of_four_are_refused(width: int, num_heads: int) -> None:
    with pytest.raises(InvalidInputError, match=f"got width {width} and num_heads {num_heads}; choose width"):
        replace(TINY, width=width, num_heads=num_heads)


@pytest.mark.parametrize("field", [field for field, choices in OPTIONS.items() if isinstance(choices[0], str)])
def test_an_unknown_choice_is_refused_with_the_known_ones(field: str) -> None:
    first, second = OPTIONS[field]
    with pytest.raises(InvalidInputError, match=f"{field} must be one of .*'{first}'.*, got 'other'") as error:
        replace(TINY, **{field: "other"})
    assert second in str(error.value)


@pytest.mark.parametrize("past_latents", [0, 3])
def test_a_clip_has_one_or_two_past_latents(past_latents: int) -> None:
    with pytest.raises(InvalidInputError, match=f"past_latents must be one of 1 or 2 or None, got {past_latents}"):
        replace(TINY, past_latents=past_latents, latent_layout="sequential", num_past_clips=1, num_future_clips=1)


def test_stacked_latents_cannot_be_split() -> None:
    with pytest.raises(InvalidInputError, match=r"past_latents 2 .*latent_layout 'stacked'.*; choose latent_layout="):
        replace(TINY, past_latents=2, latent_layout="stacked", num_past_clips=1, num_future_clips=1)


@pytest.mark.parametrize(("past", "future"), [(9, 1), (1, 8)])
def test_parts_of_a_clip_are_not_several_clips(past: int, future: int) -> None:
    message = f"past_latents 1 .*num_past_clips {past} and num_future_clips {future}; set both to 1"
    with pytest.raises(InvalidInputError, match=message):
        replace(TINY, past_latents=1, latent_layout="sequential", num_past_clips=past, num_future_clips=future)
