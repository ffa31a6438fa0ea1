"""A prior for a clip's tokens: a weighted mean of logits, in every order of revealing tokens."""

import math

import pytest
import torch
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig, Order
from hwm_env.decoding.maskgit import Decoded, decode_clip
from hwm_env.decoding.prior import Prior
from tests.decoding.heads import transparent_head
from tests.decoding.test_maskgit import GRID, LEVELS, SHAPE, Recorder, uniforms

HEAD = transparent_head(LEVELS, GRID)
CONFIGS = [
    DecodingConfig(steps=steps, order=order, temperature=temperature)
    for steps in (1, 3)
    for order in ("confidence", "random", "halton")
    for temperature in (0.0, 1.0)
]


def other_logits(seed: int = 7) -> Tensor:
    """Returns logits of another source than the network, [B, 3, S, n]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*SHAPE, sum(LEVELS), generator=generator).flatten(2, 3)


def decode(network: Recorder, config: DecodingConfig, prior: Prior | None, draws: Tensor | None = None) -> Decoded:
    draws = uniforms(config.steps) if draws is None else draws
    return decode_clip(network, HEAD, SHAPE, config, draws, torch.device("cpu"), prior=prior)


def test_logits_are_mixed_row_by_row() -> None:
    prior = Prior(torch.tensor([[1.0, -2.0], [4.0, 0.0], [3.0, 3.0]]), torch.tensor([0.25, 0.0, 1.0]))
    own = torch.tensor([[5.0, 2.0], [9.0, 9.0], [-1.0, 7.0]], dtype=torch.bfloat16)
    mixed = prior.mixed(own)
    assert mixed.dtype == torch.float32
    assert mixed.tolist() == [[2.0, -1.0], [4.0, 0.0], [-1.0, 7.0]]


def test_the_prior_of_tokens_is_looked_up_at_row_latent_and_position() -> None:
    logits = other_logits()
    prior = Prior(logits, torch.tensor([0.25, 0.75]))
    rows = torch.arange(2)[:, None]
    latents, positions = torch.tensor([[0, 2, 1], [1, 1, 0]]), torch.tensor([[5, 0, 3], [2, 4, 0]])
    chosen = prior.of_tokens(rows, latents, positions)
    for index, (row, latent, position) in enumerate([(0, 0, 5), (0, 2, 0), (0, 1, 3), (1, 1, 2), (1, 1, 4), (1, 0, 0)]):
        assert torch.equal(chosen.logits[index], logits[row, latent, position])
        assert chosen.own_weights[index] == prior.own_weights[row]
    some = chosen.select(torch.tensor([4, 0]))
    assert torch.equal(some.logits, torch.stack([logits[1, 1, 4], logits[0, 0, 5]]))
    assert some.own_weights.tolist() == [0.75, 0.25]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_prior_without_weight_changes_no_bit(config: DecodingConfig) -> None:
    network = Recorder(HEAD)
    without = decode(network, config, None)
    for part, expected in zip(decode(network, config, Prior(other_logits(), torch.ones(2))), without, strict=True):
        assert torch.equal(part, expected)


@pytest.mark.parametrize("order", ["confidence", "random", "halton"])
def test_a_prior_with_all_the_weight_decides_alone(order: Order) -> None:
    logits = other_logits()
    config = DecodingConfig(steps=3, order=order, temperature=0.0)
    tokens, log_prob, entropy = decode(Recorder(HEAD), config, Prior(logits, torch.zeros(2)))
    first, second = (part.log_softmax(-1) for part in logits.view(*SHAPE, -1).split(LEVELS, dim=-1))
    assert torch.equal(tokens, (first.argmax(-1) + LEVELS[0] * second.argmax(-1)).int())
    torch.testing.assert_close(log_prob, first.amax(-1) + second.amax(-1))
    expected = sum(-(part.exp() * part).sum(-1) for part in (first, second))
    torch.testing.assert_close(entropy, expected)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_mixture_is_what_a_network_with_mixed_logits_decodes(config: DecodingConfig) -> None:
    """Each row has its own weight. The network's logits do not change from step to step."""
    weights = torch.tensor([0.3, 0.8])
    network, mixed = Recorder(HEAD), Recorder(HEAD)
    logits = other_logits()
    width = sum(LEVELS)
    scale = weights[:, None, None, None]
    mixed.features = network.features.clone()
    mixed.features[..., :width] = scale * network.features[..., :width] + (1 - scale) * logits
    expected = decode(mixed, config, None)
    got = decode(network, config, Prior(logits, weights))
    assert torch.equal(got.tokens, expected.tokens)
    torch.testing.assert_close(got.log_prob, expected.log_prob)
    torch.testing.assert_close(got.entropy, expected.entropy)


def test_sampled_tokens_follow_the_mixture() -> None:
    """Many draws of one token have the mixture's frequencies."""
    count = 4000
    network, prior = torch.tensor([2.0, 0.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0, -2.0])
    head = transparent_head((4,), (1, 1))
    features = torch.zeros(count, 3, 1, head.project.in_features)
    features[..., :4] = network
    tokens = decode_clip(
        lambda _: features,
        head,
        (count, 3, 1, 1),
        DecodingConfig(steps=1, temperature=1.0),
        torch.rand(count, 1, 3, 2, generator=torch.Generator().manual_seed(0)),
        torch.device("cpu"),
        prior=Prior(prior.expand(count, 3, 1, 4), torch.full((count,), 0.5)),
    ).tokens
    expected = [math.exp(x) for x in (1.0, 1.0, 0.0, -1.0)]
    shares = torch.bincount(tokens.flatten(), minlength=4) / tokens.numel()
    assert shares.tolist() == pytest.approx([x / sum(expected) for x in expected], abs=0.02)


@pytest.mark.parametrize("chosen", [[0], [1], [1, 0, 1]])
def test_rows_have_independent_priors(chosen: list[int]) -> None:
    config = DecodingConfig(steps=3, temperature=1.0)
    network = Recorder(HEAD)
    prior = Prior(other_logits(), torch.tensor([0.1, 0.6]))
    together = decode(network, config, prior)
    rows = torch.tensor(chosen)
    picked = Recorder(HEAD)
    picked.features = network.features[rows]
    shape = (len(chosen), *SHAPE[1:])
    alone = decode_clip(picked, HEAD, shape, config, uniforms(3)[rows], torch.device("cpu"), prior=prior.select(rows))
    for part, expected in zip(alone, together, strict=True):
        assert torch.equal(part, expected[rows])
