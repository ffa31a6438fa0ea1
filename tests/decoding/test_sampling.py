"""Sampling from known logits: frequencies, truncation, and large softmaxes drawn in slices."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import hwm_env.decoding.sampling as sampling
from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.sampling import Drawn, draw_tokens, truncated
from hwm_env.model.heads import CodebookHead
from tests.decoding.heads import transparent_head

LEVELS = (4, 3)
CODES = math.prod(LEVELS)
SLICE = 5
KINDS = ["factored", "joint", "walked"]


@pytest.fixture(params=KINDS)
def head(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CodebookHead:
    """A head of each kind; "walked": a joint head whose 12 outcomes are drawn in slices of 5, 5 and 2."""
    if request.param != "walked":
        return transparent_head(LEVELS, kind=request.param)
    for name, value in (("LARGE", 1), ("OUTCOMES_AT_ONCE", SLICE), ("TOKENS_AT_ONCE", 300)):
        monkeypatch.setattr(sampling, name, value)
    return transparent_head(LEVELS, kind="joint")


def random_logits(head: CodebookHead) -> Tensor:
    return 1.5 * torch.randn(sum(head.levels), generator=torch.Generator().manual_seed(5))


def draw(head: CodebookHead, logits: Tensor, count: int, config: DecodingConfig, num_codes: int = CODES) -> Drawn:
    """Draws many times from the same logits, with evenly spread uniform numbers in random order."""
    features = torch.zeros(head.project.in_features).index_copy(0, torch.arange(len(logits)), logits)
    generator = torch.Generator().manual_seed(6)
    columns = [torch.randperm(count, generator=generator) for _ in head.levels]
    uniform = (torch.stack(columns, dim=1) + 0.5) / count
    latents = torch.arange(count) % head.num_latents
    return draw_tokens(head, features.expand(count, -1), latents, uniform, config, num_codes)


def frequencies(tokens: Tensor) -> Tensor:
    return torch.bincount(tokens.long(), minlength=CODES) / len(tokens)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_samples_have_the_frequencies_of_the_tempered_distribution(head: CodebookHead, temperature: float) -> None:
    logits = random_logits(head)
    tokens, log_prob, _ = draw(head, logits, 100_000, DecodingConfig(temperature=temperature))
    expected = head.joint(logits / temperature).softmax(dim=-1)
    assert torch.allclose(frequencies(tokens), expected, atol=0.003)
    untempered = head.joint(logits).log_softmax(dim=-1)
    assert torch.allclose(log_prob, untempered[tokens.long()], atol=1e-5)


def test_temperature_zero_takes_the_most_probable(head: CodebookHead) -> None:
    logits = random_logits(head)
    tokens, log_prob, _ = draw(head, logits, 6, DecodingConfig(temperature=0.0))
    expected, token = head.joint(logits).log_softmax(dim=-1).max(dim=-1)
    assert (tokens == token).all()
    assert torch.allclose(log_prob, expected.expand(6), atol=1e-5)


def test_a_higher_temperature_has_more_entropy(head: CodebookHead) -> None:
    logits = random_logits(head)
    entropy = [
        torch.special.entr(frequencies(draw(head, logits, 20_000, DecodingConfig(temperature=t))[0])).sum().item()
        for t in (0.3, 1.0, 3.0)
    ]
    assert entropy[0] + 0.2 < entropy[1] < entropy[2] - 0.2


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("logit", [0.0, -300.0, 300.0])
def test_entropy_of_equal_outcomes_is_the_logarithm_of_their_number(
    head: CodebookHead, logit: float, temperature: float
) -> None:
    logits = torch.full((sum(head.levels),), logit)
    entropy = draw(head, logits, 6, DecodingConfig(temperature=temperature)).entropy
    assert torch.allclose(entropy, torch.tensor(math.log(CODES)), atol=1e-5)


@pytest.mark.parametrize("margin", [60.0, 1e4, 1e30])
def test_entropy_of_a_certain_outcome_is_zero(head: CodebookHead, margin: float) -> None:
    parts = [margin * torch.eye(level)[level // 2] for level in head.levels]
    drawn = draw(head, torch.cat(parts), 6, DecodingConfig(temperature=0.5))
    assert (drawn.entropy < 1e-20).all()
    assert (drawn.log_prob == 0).all()


@pytest.mark.parametrize("config", [DecodingConfig(temperature=0.0), DecodingConfig(temperature=0.6)], ids=str)
@pytest.mark.parametrize("scale", [0.3, 1.0, 8.0])
def test_entropy_is_that_of_the_whole_codebook(head: CodebookHead, scale: float, config: DecodingConfig) -> None:
    logits = scale * random_logits(head)
    entropy = draw(head, logits, 6, config).entropy
    expected = torch.special.entr(head.joint(logits).double().softmax(dim=-1)).sum()
    assert torch.allclose(entropy.double(), expected, atol=1e-5)


def test_truncation_does_not_change_the_entropy() -> None:
    head = transparent_head(LEVELS)
    logits = random_logits(head)
    whole, cut = (
        draw(head, logits, 6, config).entropy
        for config in (DecodingConfig(temperature=1.0), DecodingConfig(temperature=1.0, top_k=2, top_p=0.5))
    )
    assert torch.equal(whole, cut)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
def test_features_that_are_not_finite_affect_no_other_token(
    head: CodebookHead, temperature: float, value: float
) -> None:
    config = DecodingConfig(temperature=temperature)
    features = torch.randn(9, head.project.in_features, generator=torch.Generator().manual_seed(1))
    uniform = torch.rand(9, len(head.levels), generator=torch.Generator().manual_seed(2))
    latents = torch.arange(9) % 3
    whole = draw_tokens(head, features, latents, uniform, config, CODES)
    features[4, 1] = value
    drawn = draw_tokens(head, features, latents, uniform, config, CODES)
    others = torch.arange(9) != 4
    for part, expected in zip(drawn, whole, strict=True):
        assert torch.equal(part[others], expected[others])
    assert drawn.log_prob[4].isnan()
    assert 0 <= drawn.tokens[4] < CODES


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_single_logit_that_is_not_finite_shows_in_all_tokens_of_its_latent(head: CodebookHead, value: float) -> None:
    """Minus infinity leaves the other outcomes' probabilities finite, but is refused all the same."""
    with torch.no_grad():
        head.project.bias[sum(head.levels) + 1] = value
    features = torch.zeros(6, head.project.in_features)
    latents = torch.arange(6) % 3
    drawn = draw_tokens(head, features, latents, None, DecodingConfig(temperature=0.0), CODES)
    assert torch.equal(drawn.log_prob.isfinite(), latents != 1)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("num_codes", [1, 5, 6, 11])
@pytest.mark.parametrize("head", ["joint", "walked"], indirect=True)
def test_codes_that_the_tokenizer_lacks_are_never_drawn(head: CodebookHead, num_codes: int, temperature: float) -> None:
    logits = random_logits(head)
    logits[num_codes:] += 5
    tokens, log_prob, entropy = draw(head, logits, 20_000, DecodingConfig(temperature=temperature), num_codes)
    expected = logits[:num_codes].log_softmax(dim=-1)
    assert torch.allclose(entropy, torch.special.entr(expected.exp()).sum(), atol=1e-5)
    assert tokens.max() < num_codes
    assert torch.allclose(log_prob, expected[tokens.long()], atol=1e-5)
    if temperature:
        assert torch.allclose(frequencies(tokens)[:num_codes], expected.exp(), atol=0.005)


def test_latents_have_their_own_outputs(head: CodebookHead) -> None:
    """Latent l prefers code l, through its bias only."""
    size = sum(head.levels)
    digits = head.fsq.codes_to_digits(torch.arange(3))
    with torch.no_grad():
        for latent in range(3):
            for index, digit in enumerate(digits[latent]):
                head.project.bias[latent * size + sum(head.levels[:index]) + digit] = 9.0
    latents = torch.tensor([2, 0, 1, 1, 2])
    tokens, *_ = draw_tokens(
        head, torch.zeros(5, head.project.in_features), latents, None, DecodingConfig(temperature=0.0), CODES
    )
    assert torch.equal(tokens.long(), latents)


def test_a_uniform_number_of_almost_one_stays_inside_the_codebook(head: CodebookHead) -> None:
    features = torch.full((3, head.project.in_features), -40.0)
    almost_one = torch.full((3, len(head.levels)), 1 - 2**-24)
    tokens, *_ = draw_tokens(head, features, torch.arange(3), almost_one, DecodingConfig(temperature=1.0), CODES)
    assert (tokens == CODES - 1).all()


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_large_logits_neither_overflow_nor_vanish(head: CodebookHead, shift: float) -> None:
    logits = random_logits(head)
    plain, moved = (draw(head, x, 1000, DecodingConfig(temperature=0.5))[0] for x in (logits, logits + shift))
    # Around 10,000, float32 has steps of 0.001.
    assert (plain == moved).float().mean() > 0.99


def test_few_tokens_at_once_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    head = transparent_head(LEVELS, kind="joint")
    whole = draw(head, random_logits(head), 50, DecodingConfig(temperature=1.0))
    monkeypatch.setattr(sampling, "ELEMENTS_AT_ONCE", 3 * CODES)
    sliced = draw(head, random_logits(head), 50, DecodingConfig(temperature=1.0))
    for part, expected in zip(sliced, whole, strict=True):
        assert torch.equal(part, expected)


def kept_by_definition(logits: list[float], top_k: int | None, top_p: float) -> set[int]:
    """The k most probable outcomes; of those, the fewest most probable ones with at least mass p."""
    ranked = sorted(range(len(logits)), key=lambda i: -logits[i])[:top_k]
    weights = [math.exp(logits[i]) for i in ranked]
    kept, mass = set(), 0.0
    for outcome, weight in zip(ranked, weights, strict=True):
        if mass >= top_p:
            break
        kept.add(outcome)
        mass += weight / sum(weights)
    return kept


@given(
    rows=st.lists(st.permutations(range(6)), min_size=1, max_size=4),
    top_k=st.none() | st.integers(1, 8),
    top_p=st.sampled_from([0.05, 0.3, 0.5, 0.77, 0.93, 1.0]),
)
def test_truncation_follows_its_definition(rows: list[list[int]], top_k: int | None, top_p: float) -> None:
    logits = torch.tensor(rows) * 0.7
    result = truncated(logits, top_k, top_p)
    for row, kept in zip(logits, result, strict=True):
        expected = kept_by_definition(row.tolist(), top_k, top_p)
        assert set(kept.isfinite().nonzero().squeeze(1).tolist()) == expected
        assert torch.equal(kept[sorted(expected)], row[sorted(expected)])


def test_a_nucleus_is_measured_after_the_temperature(head: CodebookHead) -> None:
    """A low temperature puts more mass on the most probable outcomes, so fewer are needed."""
    logits = random_logits(head)
    counts = [
        draw(head, logits, 5000, DecodingConfig(temperature=t, top_p=0.8))[0].unique().numel() for t in (0.3, 1.0, 3.0)
    ]
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize("head", ["factored", "joint"], indirect=True)
def test_truncated_samples_have_the_renormalised_frequencies(head: CodebookHead) -> None:
    logits = random_logits(head)
    tokens, log_prob, _ = draw(head, logits, 50_000, DecodingConfig(temperature=1.0, top_k=3, top_p=0.9))
    parts = [
        torch.where(torch.isin(torch.arange(len(part)), torch.tensor(list(kept))), part, -torch.inf)
        for part in head.split(logits)
        for kept in [kept_by_definition(part.tolist(), 3, 0.9)]
    ]
    # The first digit runs fastest.
    expected = parts[0].softmax(dim=-1)
    if len(parts) == 2:
        expected = (parts[1].softmax(dim=-1)[:, None] * expected).flatten()
    assert torch.allclose(frequencies(tokens), expected, atol=0.005)
    assert torch.allclose(log_prob, head.joint(logits).log_softmax(dim=-1)[tokens.long()], atol=1e-5)
