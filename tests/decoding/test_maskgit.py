"""MaskGIT decoding against its definition, with stand-in networks whose answers are known."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.maskgit import decode_clip, masked_counts, sample_tokens
from hwm_env.errors import InvalidInputError
from hwm_env.model.heads import FactoredHead

LEVELS = (4, 3)
GRID = (2, 3)
SHAPE = (2, 3, *GRID)
NUM_TOKENS = math.prod(SHAPE[1:])
MASK = math.prod(LEVELS)


@pytest.fixture
def head() -> FactoredHead:
    return FactoredHead(LEVELS, 8, GRID)


def uniforms(steps: int, seed: int = 0) -> Tensor:
    shape = (SHAPE[0], steps, NUM_TOKENS, len(LEVELS) + 1)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def random_logits(seed: int = 0) -> Tensor:
    return torch.randn(*SHAPE, sum(LEVELS), generator=torch.Generator().manual_seed(seed))


class Recorder:
    """A network that always answers the same and remembers what it was shown."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.seen: list[Tensor] = []

    def __call__(self, tokens: Tensor) -> Tensor:
        self.seen.append(tokens.clone())
        return self.logits


@given(num_tokens=st.integers(1, 300), data=st.data())
def test_unmasking_is_monotone_and_ends_with_nothing_masked(num_tokens: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, num_tokens))
    counts = [num_tokens, *masked_counts(num_tokens, steps)]
    assert counts[-1] == 0
    assert all(later < earlier for earlier, later in itertools.pairwise(counts))


def test_the_masked_share_follows_the_cosine() -> None:
    assert masked_counts(192, 4) == [round(192 * math.cos(math.pi / 2 * k / 4)) for k in (1, 2, 3)] + [0]


def test_more_steps_than_tokens_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="at most the 18 tokens of a clip, got 19"):
        masked_counts(18, 19)


@pytest.mark.parametrize("order", ["confidence", "random"])
@pytest.mark.parametrize("steps", [1, 3, 18])
def test_known_tokens_stay_and_all_become_known(head: FactoredHead, steps: int, order: str) -> None:
    network = Recorder(random_logits())
    config = DecodingConfig(steps=steps, order=order, temperature=1.0)
    decoded = decode_clip(network, head, SHAPE, config, uniforms(steps), torch.device("cpu"))
    assert len(network.seen) == steps
    assert (network.seen[0] == MASK).all()
    for shown in network.seen:
        known = shown != MASK
        assert torch.equal(shown[known], decoded.tokens[known])
    assert 0 <= decoded.tokens.min() <= decoded.tokens.max() < MASK


def test_greedy_one_step_is_the_most_probable_token_of_the_joint_distribution(head: FactoredHead) -> None:
    logits = random_logits()
    config = DecodingConfig(steps=1, temperature=0.0)
    decoded = decode_clip(Recorder(logits), head, SHAPE, config, None, torch.device("cpu"))
    log_prob, token = head.joint(logits).max(dim=-1)
    assert torch.equal(decoded.tokens, token.int())
    assert torch.allclose(decoded.log_prob, log_prob, atol=1e-5)


def test_the_most_confident_tokens_come_first(head: FactoredHead) -> None:
    network = Recorder(random_logits())
    decode_clip(network, head, SHAPE, DecodingConfig(steps=3, temperature=0.0), None, torch.device("cpu"))
    confidence = head.joint(network.logits).amax(dim=-1).flatten(1)
    known = (network.seen[1] != MASK).flatten(1)
    for row in range(SHAPE[0]):
        assert confidence[row][known[row]].min() > confidence[row][~known[row]].max()


def test_samples_have_the_frequencies_of_the_tempered_distribution(head: FactoredHead) -> None:
    logits = torch.randn(1, 1, sum(LEVELS), generator=torch.Generator().manual_seed(5))
    count, temperature = 200_000, 0.6
    uniform = torch.rand(1, count, len(LEVELS), generator=torch.Generator().manual_seed(6))
    tokens, _ = sample_tokens(head, logits.expand(1, count, -1), temperature, uniform)
    frequencies = torch.bincount(tokens[0].long(), minlength=MASK) / count
    assert torch.allclose(frequencies, head.joint(logits / temperature).exp()[0, 0], atol=0.005)


def test_a_higher_temperature_has_more_entropy(head: FactoredHead) -> None:
    logits = torch.randn(1, 1, sum(LEVELS), generator=torch.Generator().manual_seed(5)).expand(1, 20_000, -1)
    uniform = torch.rand(1, 20_000, len(LEVELS), generator=torch.Generator().manual_seed(6))

    def entropy(temperature: float) -> float:
        tokens, _ = sample_tokens(head, logits, temperature, uniform)
        frequencies = torch.bincount(tokens[0].long(), minlength=MASK) / 20_000
        return torch.special.entr(frequencies).sum().item()

    assert entropy(0.3) < entropy(1.0) - 0.2 < entropy(3.0) - 0.4


def test_a_uniform_number_of_almost_one_stays_inside_the_codebook(head: FactoredHead) -> None:
    logits = torch.full((1, 1, sum(LEVELS)), -40.0)
    almost_one = torch.full((1, 1, len(LEVELS)), 1 - 2**-24)
    tokens, _ = sample_tokens(head, logits, 1.0, almost_one)
    assert tokens.item() == MASK - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"order": "x"}, "order"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    make: Callable[..., DecodingConfig] = DecodingConfig
    with pytest.raises(InvalidInputError, match=message):
        make(**change)
