"""MaskGIT decoding against its definition, with stand-in networks of known outputs."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig, Order
from hwm_env.decoding.halton import halton_order
from hwm_env.decoding.maskgit import Decoded, decode_clip, masked_counts
from hwm_env.errors import InvalidInputError
from hwm_env.model.heads import CodebookHead
from tests.decoding.heads import as_features, transparent_head

LEVELS = (4, 3)
GRID = (2, 3)
SHAPE = (2, 3, *GRID)
NUM_TOKENS = math.prod(SHAPE[1:])
MASK = math.prod(LEVELS)


@pytest.fixture(params=["factored", "joint"])
def head(request: pytest.FixtureRequest) -> CodebookHead:
    return transparent_head(LEVELS, GRID, request.param)


def uniforms(steps: int, seed: int = 0) -> Tensor:
    shape = (SHAPE[0], steps, NUM_TOKENS, len(LEVELS) + 1)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def random_logits(head: CodebookHead, seed: int = 0) -> Tensor:
    return torch.randn(*SHAPE, sum(head.levels), generator=torch.Generator().manual_seed(seed))


class Recorder:
    """A network with constant output that records its inputs."""

    def __init__(self, head: CodebookHead) -> None:
        self.logits = random_logits(head)
        self.features = as_features(self.logits, head)
        self.seen: list[Tensor] = []

    def __call__(self, tokens: Tensor) -> Tensor:
        self.seen.append(tokens.clone())
        return self.features


@given(num_tokens=st.integers(1, 300), data=st.data())
def test_unmasking_is_monotone_and_ends_with_nothing_masked(num_tokens: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, num_tokens))
    counts = [num_tokens, *masked_counts(num_tokens, steps)]
    assert counts[-1] == 0
    assert all(later < earlier for earlier, later in itertools.pairwise(counts))


def test_the_masked_share_follows_the_cosine() -> None:
    assert masked_counts(192, 4) == [round(192 * math.cos(math.pi / 2 * k / 4)) for k in (1, 2, 3)] + [0]


@pytest.mark.parametrize("steps", [0, 19])
def test_as_many_steps_are_refused(steps: int) -> None:
    with pytest.raises(InvalidInputError, match=f"1 to 18, the tokens of a clip, got {steps}"):
        masked_counts(18, steps)


def decode(network: Recorder, head: CodebookHead, config: DecodingConfig) -> Decoded:
    return decode_clip(network, head, SHAPE, config, uniforms(config.steps), torch.device("cpu"))


@pytest.mark.parametrize("order", ["confidence", "random", "halton"])
@pytest.mark.parametrize("steps", [1, 3, 18])
def test_known_tokens_stay_and_all_become_known(head: CodebookHead, steps: int, order: Order) -> None:
    network = Recorder(head)
    tokens, log_prob, entropy = decode(network, head, DecodingConfig(steps=steps, order=order, temperature=1.0))
    assert len(network.seen) == steps
    assert (network.seen[0] == MASK).all()
    left = [(shown == MASK).flatten(1).sum(dim=1).tolist() for shown in network.seen]
    assert left == [[count] * SHAPE[0] for count in [NUM_TOKENS, *masked_counts(NUM_TOKENS, steps)[:-1]]]
    for shown in network.seen:
        known = shown != MASK
        assert torch.equal(shown[known], tokens[known])
    assert 0 <= tokens.min() <= tokens.max() < MASK
    log_probs = head.joint(network.logits).log_softmax(dim=-1)
    expected = log_probs.gather(-1, tokens.long()[..., None]).squeeze(-1)
    assert torch.allclose(log_prob, expected, atol=1e-5)
    assert torch.allclose(entropy, -(log_probs.exp() * log_probs).sum(dim=-1), atol=1e-5)


def test_greedy_one_step_is_the_most_probable_token(head: CodebookHead) -> None:
    network = Recorder(head)
    tokens, log_prob, _ = decode(network, head, DecodingConfig(steps=1, temperature=0.0))
    expected, token = head.joint(network.logits).log_softmax(dim=-1).max(dim=-1)
    assert torch.equal(tokens, token.int())
    assert torch.allclose(log_prob, expected, atol=1e-5)


def test_the_most_confident_tokens_come_first(head: CodebookHead) -> None:
    network = Recorder(head)
    decode(network, head, DecodingConfig(steps=3, temperature=0.0))
    confidence = head.joint(network.logits).log_softmax(dim=-1).amax(dim=-1).flatten(1)
    known = (network.seen[1] != MASK).flatten(1)
    for row in range(SHAPE[0]):
        assert confidence[row][known[row]].min() > confidence[row][~known[row]].max()


def test_a_random_order_is_that_of_the_last_uniform_number(head: CodebookHead) -> None:
    network = Recorder(head)
    decode(network, head, DecodingConfig(steps=3, temperature=0.0, order="random"))
    numbers = uniforms(3)[:, 0, :, -1]
    known = (network.seen[1] != MASK).flatten(1)
    for row in range(SHAPE[0]):
        assert numbers[row][known[row]].min() > numbers[row][~known[row]].max()


def test_a_halton_order_goes_along_the_sequence(head: CodebookHead) -> None:
    network = Recorder(head)
    decode(network, head, DecodingConfig(steps=3, temperature=0.0, order="halton"))
    sequence = halton_order(*SHAPE[1:])
    for shown in network.seen:
        in_order = (shown != MASK).flatten(1)[:, sequence].int()
        assert torch.equal(in_order, in_order.sort(dim=1, descending=True).values)


@pytest.mark.parametrize("order", ["confidence", "random", "halton"])
def test_features_shared_by_latents_count_for_each(head: CodebookHead, order: Order) -> None:
    """A stacked model returns [B, 1, S, D], which decodes like the same features repeated for each latent."""
    shared = as_features(random_logits(head)[:, :1], head)
    config = DecodingConfig(steps=3, temperature=1.0, order=order)
    results = [
        decode_clip(lambda _, f=features: f, head, SHAPE, config, uniforms(3), torch.device("cpu"))
        for features in (shared, shared.expand(-1, SHAPE[1], -1, -1))
    ]
    assert torch.equal(results[0].tokens, results[1].tokens)


@pytest.mark.parametrize("order", ["confidence", "random", "halton"])
def test_a_row_of_a_batch_equals_the_same_row_alone(head: CodebookHead, order: Order) -> None:
    features, numbers = as_features(random_logits(head), head), uniforms(3)
    config = DecodingConfig(steps=3, temperature=1.0, order=order)
    together = decode_clip(lambda _: features, head, SHAPE, config, numbers, torch.device("cpu"))
    for row in range(SHAPE[0]):
        one = slice(row, row + 1)
        alone = decode_clip(
            lambda _, one=one: features[one], head, (1, *SHAPE[1:]), config, numbers[one], torch.device("cpu")
        )
        assert torch.equal(together.tokens[one], alone.tokens)


@pytest.mark.parametrize("order", ["confidence", "random", "halton"])
def test_entropy_and_log_probability_are_of_the_pass_that_revealed_a_token(head: CodebookHead, order: Order) -> None:
    answers = [random_logits(head, seed) for seed in range(3)]
    shown: list[Tensor] = []

    def network(tokens: Tensor) -> Tensor:
        shown.append(tokens.clone())
        return as_features(answers[len(shown) - 1], head)

    config = DecodingConfig(steps=3, temperature=1.0, order=order)
    decoded = decode_clip(network, head, SHAPE, config, uniforms(3), torch.device("cpu"))
    for logits, before, after in zip(answers, shown, [*shown[1:], decoded.tokens], strict=True):
        revealed = (before == MASK) & (after != MASK)
        log_probs = head.joint(logits).log_softmax(dim=-1)
        entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
        chosen = log_probs.gather(-1, decoded.tokens.long()[..., None]).squeeze(-1)
        assert torch.allclose(decoded.entropy[revealed], entropy[revealed], atol=1e-5)
        assert torch.allclose(decoded.log_prob[revealed], chosen[revealed], atol=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("order", ["confidence", "random", "halton"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_outputs_that_are_not_finite_affect_their_row_only(
    head: CodebookHead, temperature: float, order: Order, value: float
) -> None:
    config = DecodingConfig(steps=3, temperature=temperature, order=order)
    features = as_features(random_logits(head), head)
    whole = decode_clip(lambda _: features, head, SHAPE, config, uniforms(3), torch.device("cpu"))
    broken = features.clone()
    broken[1, 2, 4, 0] = value
    decoded = decode_clip(lambda _: broken, head, SHAPE, config, uniforms(3), torch.device("cpu"))
    for part, expected in zip(decoded, whole, strict=True):
        assert torch.equal(part[0], expected[0])
    bad = ~decoded.log_prob[1].isfinite().flatten(1)
    assert bad.nonzero().tolist() == [[2, 4]]
    assert 0 <= decoded.tokens.min() <= decoded.tokens.max() < MASK


def test_outputs_that_are_not_finite_in_one_step_are_recorded(head: CodebookHead) -> None:
    """NaN counts as the most probable, so it is revealed in the step in which it appears."""
    passes = 0

    def network(_: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        features = as_features(random_logits(head), head)
        return features.index_fill(1, torch.tensor([0]), math.nan) if passes == 1 else features

    decoded = decode_clip(network, head, SHAPE, DecodingConfig(steps=3, temperature=0.0), None, torch.device("cpu"))
    assert not decoded.log_prob.isfinite().flatten(1).all(dim=1).any()
