"""Draws as functions of seeds: against Python's integers and closed forms, and independent of the division."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwm_env import draws

ALL_64 = 2**64 - 1


def split_mix(state: int) -> int:
    """The next output of SplitMix64, written with Python's integers as in the paper's listing."""
    z = (state + 0x9E3779B97F4A7C15) & ALL_64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & ALL_64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & ALL_64
    return z ^ (z >> 31)


@given(state=st.integers(-(2**63), 2**63 - 1))
def test_mixing_is_that_of_split_mix(state: int) -> None:
    mixed = draws._mixed(torch.tensor([state]) + draws._GOLDEN)
    assert int(mixed[0]) & ALL_64 == split_mix(state & ALL_64)


def test_known_outputs() -> None:
    """The first outputs for the seed 1234567, which implementations of SplitMix64 are checked with."""
    states = torch.tensor([1234567]) + torch.arange(1, 4) * draws._GOLDEN
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(value) & ALL_64 for value in draws._mixed(states)] == expected


def test_rows_do_not_depend_on_the_division() -> None:
    whole = draws.seeds_of(3, 5, range(8))
    assert torch.equal(whole[2:5], draws.seeds_of(3, 5, range(2, 5)))
    for draw in (draws.bits, draws.uniform, draws.normal):
        assert torch.equal(draw(whole, 1, (4, 3))[2:5], draw(whole[2:5], 1, (4, 3)))


def test_seeds_steps_rows_and_streams_are_independent() -> None:
    seeds = torch.cat([draws.seeds_of(seed, step, range(50)) for seed in range(20) for step in range(20)])
    assert len(seeds.unique()) == len(seeds)
    numbers = torch.stack([draws.uniform(seeds, stream) for stream in range(4)])
    shifted = [numbers[0].roll(rows) for rows in (1, 50, 1000)]  # another row, step and seed
    correlations = torch.corrcoef(torch.stack([*numbers, *shifted])).abs()
    assert correlations.fill_diagonal_(0).max() < 4 / math.sqrt(len(seeds))


@pytest.mark.parametrize(("stream", "seed"), [(0, 0), (17, 3)])
def test_uniform_and_normal_have_their_moments(stream: int, seed: int) -> None:
    seeds = draws.seeds_of(seed, 0, range(100))
    uniform, normal = draws.uniform(seeds, stream, (10_000,)), draws.normal(seeds, stream, (10_000,))
    assert uniform.min() >= 0
    assert uniform.max() < 1
    counts = uniform.mul(100).long().flatten().bincount(minlength=100)
    # Chi-squared with 99 degrees of freedom exceeds 150 in one of a thousand cases.
    assert float((counts - 1e4).square().sum() / 1e4) < 150
    assert float(normal.mean()) == pytest.approx(0, abs=4e-3)
    assert float(normal.std()) == pytest.approx(1, abs=4e-3)
    assert float(normal.pow(4).mean()) == pytest.approx(3, abs=0.05)
    assert normal.isfinite().all()
