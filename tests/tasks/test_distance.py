"""How far clips are from each other: closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.errors import InvalidInputError
from hwm_env.tasks.distance import distance, features
from hwm_env.tasks.goal_image import GoalImage
from tests.tasks.seen import random_tokens, seen

SPACES = ["latents", "tokens", "pixels"]
BLACK, WHITE = (np.full((4, 4, 3), value, np.uint8) for value in (0, 255))


def random_moment(seed: int):
    rng = np.random.default_rng(seed)
    return seen(random_tokens(rng, 3, 2, 2), last_frame=rng.integers(256, size=(16, 16, 3), dtype=np.uint8))


def test_latents_are_compared_by_the_root_mean_square() -> None:
    zeros = np.zeros((2, 2, 6), np.float32)
    one_off = zeros.copy()
    one_off[1, 0, 3] = 2.0
    assert distance(zeros, zeros + 0.5, "latents") == pytest.approx(0.5)
    assert distance(zeros, one_off, "latents") == pytest.approx(np.sqrt(4 / 24))
    assert distance(zeros - 1, zeros + 1, "latents") == pytest.approx(2.0), "no two clips are further apart"


def test_tokens_that_differ_are_counted_however_much_they_do() -> None:
    tokens = np.zeros((3, 8, 8), np.int32)
    changed = tokens.copy()
    # One digit by one, one digit to its end, all digits.
    changed[-1, 0, :3] = 1, 7, 63999
    pair = [features(seen(each), "tokens") for each in (tokens, changed)]
    assert distance(*pair, "tokens") == 3 / 64


def test_pixels_are_compared_in_units_of_the_whole_range() -> None:
    assert distance(BLACK, WHITE, "pixels") == 1.0
    dot = BLACK.copy()
    dot[2, 1, 0] = 51
    assert distance(BLACK, dot, "pixels") == pytest.approx(0.2 / np.sqrt(48))
    assert distance(dot, BLACK, "pixels") == distance(BLACK, dot, "pixels"), "a difference of bytes wraps around"


@pytest.mark.parametrize("space", SPACES)
def test_only_the_end_of_a_clip_counts(space: str) -> None:
    tokens = random_tokens(np.random.default_rng(0), 3, 2, 2)
    early = tokens.copy()
    early[:2] = (early[:2] + 1) % 64000
    pair = [features(seen(each, last_frame=BLACK), space) for each in (tokens, early)]
    assert distance(*pair, space) == 0.0


@given(first=st.integers(0, 2**32 - 1), second=st.integers(0, 2**32 - 1), space=st.sampled_from(SPACES))
def test_distances_are_symmetric_and_zero_to_oneself(first: int, second: int, space: str) -> None:
    a, b = (features(random_moment(seed), space) for seed in (first, second))
    assert distance(a, a, space) == 0.0
    assert distance(a, b, space) == distance(b, a, space)
    assert (distance(a, b, space) > 0) == bool((a != b).any())
    assert type(distance(a, b, space)) is float


def test_unknown_spaces_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="space must be one of 'latents', 'tokens' or 'pixels', got 'sound'"):
        GoalImage("sound")  # type: ignore[arg-type]
