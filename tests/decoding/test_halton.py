"""The Halton order is a permutation whose every prefix is spread evenly."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwm_env.decoding.halton import halton_order, radical_inverse


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (2, [0, 1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8]),
        (3, [0, 1 / 3, 2 / 3, 1 / 9, 4 / 9, 7 / 9, 2 / 9, 5 / 9]),
        (5, [0, 1 / 5, 2 / 5, 3 / 5, 4 / 5, 1 / 25, 6 / 25, 11 / 25]),
    ],
)
def test_radical_inverse_mirrors_the_digits(base: int, expected: list[float]) -> None:
    indices = torch.arange(8)
    assert torch.allclose(radical_inverse(indices, base), torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(indices, torch.arange(8)), "the argument is left alone"


@settings(max_examples=30, deadline=None)
@given(latents=st.integers(1, 3), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_every_token_occurs_once(latents: int, rows: int, columns: int) -> None:
    order = halton_order(latents, rows, columns)
    assert torch.equal(order.sort().values, torch.arange(latents * rows * columns))


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (32, 32), (6, 10)])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5, 0.75])
def test_each_part_of_the_clip_gets_its_share_of_the_first_tokens(rows: int, columns: int, share: float) -> None:
    """The parts are the latents and the quadrants; the discrepancy of a Halton sequence grows with log^2."""
    count = math.ceil(share * 3 * rows * columns)
    revealed = torch.zeros(3 * rows * columns)
    revealed[halton_order(3, rows, columns)[:count]] = 1
    clip = revealed.view(3, 2, rows // 2, 2, columns // 2)
    bound = 1 + 0.25 * math.log(count) ** 2
    assert ((clip.sum(dim=(1, 2, 3, 4)) - count / 3).abs() < bound).all()
    assert ((clip.sum(dim=(0, 2, 4)) - count / 4).abs() < bound).all()


def test_the_order_starts_with_the_points_of_the_sequence() -> None:
    """Point 1 is (1/5, 1/2, 1/3), point 2 (2/5, 1/4, 2/3), of the latents, rows and columns."""
    expected = [0 * 64 + 4 * 8 + 2, 1 * 64 + 2 * 8 + 5, 1 * 64 + 6 * 8 + 0]
    assert halton_order(3, 8, 8)[:3].tolist() == expected
