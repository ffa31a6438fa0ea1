import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwm_env.errors import InvalidInputError
from hwm_env.tokenizers.fsq import FSQ

LEVELS = (8, 8, 8, 5, 5, 5)


def test_codebook_has_64000_codes() -> None:
    assert FSQ(LEVELS).codebook_size == 64_000


def test_digits_match_a_naive_mixed_radix_loop() -> None:
    fsq = FSQ(LEVELS)
    tokens = [0, 1, 7, 8, 63, 64, 511, 512, 2560, 12_345, 63_999]
    expected = []
    for token in tokens:
        digits, rest = [], token
        for level in LEVELS:
            digits.append(rest % level)
            rest //= level
        expected.append(digits)
    assert fsq.codes_to_digits(torch.tensor(tokens)).tolist() == expected


def test_all_codes_survive_the_round_trip() -> None:
    fsq = FSQ(LEVELS)
    tokens = torch.arange(fsq.codebook_size)
    digits = fsq.codes_to_digits(tokens)
    assert torch.equal(fsq.digits_to_codes(digits), tokens)
    assert len(np.unique(digits.numpy(), axis=0)) == fsq.codebook_size


def test_values_are_even_and_reach_both_ends() -> None:
    fsq = FSQ((8, 5))
    digits = torch.stack([torch.arange(8), torch.arange(8).clamp(max=4)], dim=-1)
    values = fsq.digits_to_values(digits)
    torch.testing.assert_close(values[:, 0], torch.linspace(-1, 1, 8))
    torch.testing.assert_close(values[:5, 1], torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))


@given(st.lists(st.integers(2, 9), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_value_is_quantised_to_its_own_digit(levels: list[int]) -> None:
    fsq = FSQ(levels)
    digits = fsq.codes_to_digits(torch.arange(min(fsq.codebook_size, 500)))
    # The latent whose bounded form is exactly the digit's value: atanh of the value times (level - 1) / level.
    bounded = fsq.digits_to_values(digits).double() * (fsq.levels - 1) / fsq.levels
    values, quantised = fsq.quantise(torch.atanh(bounded))
    assert torch.equal(quantised, digits)
    torch.testing.assert_close(values, fsq.digits_to_values(digits))


@pytest.mark.parametrize("level", [2, 5, 8])
def test_bins_are_of_equal_width(level: int) -> None:
    fsq = FSQ((level,))
    uniform = torch.linspace(-1, 1, 10_001)[1:-1]
    _, digits = fsq.quantise(torch.atanh(uniform)[:, None])
    shares = torch.bincount(digits.flatten(), minlength=level) / digits.numel()
    torch.testing.assert_close(shares, torch.full((level,), 1 / level), atol=1e-3, rtol=0)


def test_extreme_latents_stay_inside_the_codebook() -> None:
    fsq = FSQ(LEVELS)
    latents = torch.tensor([-1e9, -30.0, 30.0, 1e9])[:, None].expand(4, 6)
    _, digits = fsq.quantise(latents)
    assert fsq.digits_to_codes(digits).tolist() == [0, 0, 63_999, 63_999]


def test_gradient_passes_the_rounding_straight_through() -> None:
    fsq = FSQ((8, 5))
    latents = torch.tensor([[0.3, -0.7], [0.0, 1.1]], requires_grad=True)
    values, _ = fsq.quantise(latents)
    values.sum().backward()
    slopes = (1 - torch.tanh(latents.detach()) ** 2) * torch.tensor([8 / 7, 5 / 4])
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad, slopes)


def test_rounding_is_done_in_float32() -> None:
    fsq = FSQ((8, 8))
    latents = torch.randn(1000, 2).bfloat16()
    values, digits = fsq.quantise(latents)
    expected_values, expected_digits = fsq.quantise(latents.float())
    assert values.dtype == torch.float32
    assert torch.equal(values, expected_values)
    assert torch.equal(digits, expected_digits)


@pytest.mark.parametrize("levels", [(), (8, 1)])
def test_impossible_levels_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="at least 2"):
        FSQ(levels)
