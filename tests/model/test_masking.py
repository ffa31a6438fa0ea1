"""Visibility against a naive loop, and the statistics of training masks against closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.model.masking import clip_causal_visibility, corrupt, draw_mask


@given(past=st.integers(1, 5), future=st.integers(0, 4), parallel=st.booleans())
def test_visibility_equals_the_rule_spelled_out(past: int, future: int, parallel: bool) -> None:
    future_times = torch.arange(1, future + 1) if parallel else torch.arange(past, past + future)
    visible = clip_causal_visibility(torch.arange(past), future_times, parallel_targets=parallel)
    clips = [("past", t) for t in range(past)] + [("future", int(t)) for t in future_times]
    sequence = clips + clips  # video, then actions
    for row, (kind, time) in enumerate(sequence):
        for column, (other_kind, other_time) in enumerate(sequence):
            if kind == "past":
                expected = other_kind == "past" and other_time <= time
            elif other_kind == "past":
                expected = other_time < time
            else:
                expected = other_time == time if parallel else other_time <= time
            assert visible[row, column].item() == expected


def test_the_masked_share_is_two_over_pi() -> None:
    """E[cos(r * pi / 2)] for r ~ U(0, 1)."""
    mask = draw_mask((20, 3, 8, 8), torch.arange(200))
    assert mask.float().mean().item() == pytest.approx(2 / math.pi, abs=0.01)


@given(seed=st.integers(0, 2**31))
def test_something_is_always_masked(seed: int) -> None:
    mask = draw_mask((3, 3, 1, 1), seed + torch.arange(4))
    assert mask.flatten(2).any(dim=-1).all()


def test_the_corrupted_share_is_half_the_largest_rate() -> None:
    """Rate ~ U(0, 0.2), and a random token is the old one in 1 of V cases."""
    codebook_size = 50
    tokens = torch.randint(codebook_size, (4000, 192), generator=torch.Generator().manual_seed(0))
    corrupted = corrupt(tokens, codebook_size, 0.2, torch.arange(4000))
    share = (corrupted != tokens).float().mean().item()
    assert share == pytest.approx(0.1 * (1 - 1 / codebook_size), abs=0.002)
    assert 0 <= corrupted.min() <= corrupted.max() < codebook_size


def test_corruption_does_not_change_its_input() -> None:
    tokens = torch.zeros(8, 100, dtype=torch.long)
    corrupt(tokens, 64, 1.0, torch.arange(8))
    assert not tokens.any()
