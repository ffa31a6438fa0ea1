"""Draws tokens from features without holding a large codebook's logits for all tokens of a clip at once.

Each softmax is sampled by inverting its cumulative distribution at a uniform number that the caller provides.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.prior import Prior
from hwm_env.model.heads import CodebookHead

ELEMENTS_AT_ONCE = 2**24
"""Most logits in memory at once if a token needs its whole softmax: 64 MB."""
ELEMENTS_AT_ONCE_ON_GPU = 2**27
"""The same on a GPU: 512 MB."""
LARGE = 4096
"""From this many outcomes on, a CPU processes a softmax in slices of outcomes."""
TOKENS_AT_ONCE, OUTCOMES_AT_ONCE = 1024, 512
"""Size of such a slice: 2 MB of logits, which stay in a processor's cache from the product to the sum."""


class Drawn(NamedTuple):
    """Drawn tokens with their log-probability and entropy, both at temperature 1 and not truncated."""

    tokens: Tensor
    """int32 [N]."""
    log_prob: Tensor
    """float32 [N], nats; NaN where any of the logits behind the token is not finite."""
    entropy: Tensor
    """float32 [N], nats: entropy of the distribution over the codes that may be drawn."""


@torch.no_grad()
def draw_tokens(
    head: CodebookHead,
    features_ND: Tensor,
    latents_N: Tensor,
    uniform: Tensor | None,
    config: DecodingConfig,
    num_codes: int,
    prior: Prior | None = None,
) -> Drawn:
    """Draws a token from each vector; a vector that is not finite yields any token and does not affect the others.

    Args:
        head: maps features to logits.
        features_ND: float [N, D].
        latents_N: int [N], the latent of each token, counted from the first predicted one.
        uniform: float32 [N, at least digits] in [0, 1); may be `None` at temperature 0.
        config: temperature and truncation.
        num_codes: tokens from this index on are never drawn (a codebook may be smaller than the model's vocabulary).
        prior: prior of these tokens, mixed into their logits.
    """
    num_outputs, is_cpu = sum(head.levels), features_ND.device.type == "cpu"
    # Choosing a latent's tokens would wait for a GPU.
    if torch.compiler.is_exporting() or (not is_cpu and num_outputs < LARGE):
        logits = head.logits_of(features_ND, latents_N)
        mixed = logits if prior is None else prior.mixed(logits)
        return _marked(sample_tokens(head, mixed, uniform, config, num_codes))
    tokens = torch.empty(len(features_ND), dtype=torch.int32, device=features_ND.device)
    log_prob = torch.empty(len(features_ND), device=features_ND.device)
    entropy = torch.empty_like(log_prob)
    whole = len(head.levels) == 1 and config.top_k is None and config.top_p == 1 and prior is None
    walk = num_outputs >= LARGE and whole and is_cpu
    for latent in range(head.num_latents):
        of_latent = (latents_N == latent).nonzero().squeeze(1)
        elements_at_once = ELEMENTS_AT_ONCE if is_cpu else ELEMENTS_AT_ONCE_ON_GPU
        at_once = TOKENS_AT_ONCE if walk else max(1, elements_at_once // num_outputs)
        for chosen in of_latent.split(at_once):
            x, u = features_ND[chosen], None if uniform is None else uniform[chosen]
            if walk:
                drawn = _walk(*head.rows_of(latent), x, u, config.temperature, num_codes)
            else:
                logits = head.logits(x, latent)
                mixed = logits if prior is None else prior.select(chosen).mixed(logits)
                drawn = sample_tokens(head, mixed, u, config, num_codes)
            tokens[chosen], log_prob[chosen], entropy[chosen] = drawn
    return _marked(Drawn(tokens, log_prob, entropy))


def _marked(drawn: Drawn) -> Drawn:
    """Returns tokens whose log-probability is NaN where any logit is not finite."""
    # With a logit of minus infinity, the other outcomes' probabilities are finite, but not the sum of p * log p.
    return drawn._replace(log_prob=drawn.log_prob.masked_fill(~drawn.entropy.isfinite(), torch.nan))


def sample_tokens(
    head: CodebookHead, logits: Tensor, uniform: Tensor | None, config: DecodingConfig, num_codes: int
) -> Drawn:
    """Draws tokens from logits, each softmax independently.

    Args:
        head: splits the logits into digits.
        logits: float [N, n].
        uniform: float32 [N, at least digits] in [0, 1); may be `None` at temperature 0.
        config: temperature and truncation.
        num_codes: tokens from this index on are never drawn.
    """
    digits = []
    log_prob, entropy = (torch.zeros(len(logits), device=logits.device) for _ in range(2))
    for index, part in enumerate(head.split(logits.float())):
        if len(head.levels) == 1:
            part = part[:, :num_codes]
        if config.temperature == 0:
            digit = part.argmax(dim=-1)
        else:
            assert uniform is not None, "sampling needs uniforms"
            kept = truncated(part / config.temperature, config.top_k, config.top_p)
            digit = _invert(kept.softmax(dim=-1), uniform[:, index, None])
        digits.append(digit)
        log_probs = part.log_softmax(dim=-1)
        log_prob += log_probs.gather(-1, digit[:, None]).squeeze(-1)
        # Digits are independent given the features, so their entropies add up to the token's.
        entropy -= (log_probs.exp() * log_probs).sum(dim=-1)
    return Drawn(head.fsq.digits_to_codes(torch.stack(digits, dim=-1)).int(), log_prob, entropy)


def truncated(logits: Tensor, top_k: int | None, top_p: float) -> Tensor:
    """Returns logits [N, V] with minus infinity outside the k most probable outcomes and their nucleus of mass p.

    The nucleus (Holtzman et al., arXiv 1904.09751) is the smallest set of most probable outcomes with at least mass p.
    """
    if top_k is not None and top_k < logits.shape[-1]:
        smallest = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(outside, -torch.inf)
    return logits


def _invert(weights: Tensor, target: Tensor) -> Tensor:
    """Returns the outcome at which the cumulative sum of weights [N, V] exceeds target [N, 1]."""
    # Rounding can leave the whole sum below the target.
    return (weights.cumsum(dim=-1) <= target).sum(dim=-1).clamp(max=weights.shape[-1] - 1)


def _walk(weight: Tensor, bias: Tensor, x: Tensor, uniform: Tensor | None, temperature: float, num_codes: int) -> Drawn:
    """Draws from one large softmax slice by slice: chooses a slice by the slices' sums, then an outcome within it."""
    starts = range(0, num_codes, OUTCOMES_AT_ONCE)
    buffer = torch.empty(len(x), OUTCOMES_AT_ONCE, dtype=x.dtype, device=x.device)
    largest, where, sums, moments, tempered_sums = [], [], [], [], []

    def logits_of(start: int, indices: Tensor | None = None) -> Tensor:
        stop = min(start + OUTCOMES_AT_ONCE, num_codes)
        chosen = x if indices is None else x[indices]
        out = buffer.view(-1)[: len(chosen) * (stop - start)].view(len(chosen), stop - start)
        return torch.addmm(bias[start:stop], chosen, weight[start:stop].t(), out=out).float()

    for start in starts:
        logits = logits_of(start)
        top, index = logits.max(dim=-1)
        largest.append(top)
        where.append(start + index)
        above = logits.sub_(top[:, None])
        if temperature not in (0, 1):
            tempered_sums.append((above / temperature).exp_().sum(dim=-1))
        weights = above.exp()
        sums.append(weights.sum(dim=-1))
        moments.append(above.mul_(weights).sum(dim=-1))
    top_NC, sums_NC = torch.stack(largest, dim=1), torch.stack(sums, dim=1)
    log_total = (sums_NC.log() + top_NC).logsumexp(dim=1)
    highest = top_NC.amax(dim=1, keepdim=True)
    entropy = _entropy(sums_NC, torch.stack(moments, dim=1), top_NC - highest)
    if temperature == 0:
        best, slices = top_NC.max(dim=1)
        return Drawn(torch.stack(where, dim=1).gather(1, slices[:, None]).squeeze(1).int(), best - log_total, entropy)
    assert uniform is not None, "sampling needs uniforms"
    in_slice = torch.stack(tempered_sums, dim=1) if tempered_sums else sums_NC
    mass_NC = in_slice.double() * ((top_NC - highest) / temperature).exp()
    target = uniform[:, :1] * mass_NC.sum(dim=1, keepdim=True)
    slices = _invert(mass_NC, target)
    rest = target - (mass_NC.cumsum(dim=1) - mass_NC).gather(1, slices[:, None])
    tokens = torch.empty(len(x), dtype=torch.int32, device=x.device)
    log_prob = torch.empty(len(x), device=x.device)
    for index in slices.unique().tolist():
        chosen = (slices == index).nonzero().squeeze(1)
        logits = logits_of(starts[index], chosen)
        outcome = _invert(((logits - highest[chosen]) / temperature).exp(), rest[chosen])
        tokens[chosen] = (starts[index] + outcome).int()
        log_prob[chosen] = logits.gather(1, outcome[:, None]).squeeze(1) - log_total[chosen]
    return Drawn(tokens, log_prob, entropy)


def _entropy(sums_NC: Tensor, moments_NC: Tensor, tops_NC: Tensor) -> Tensor:
    """Returns the entropy of a softmax from its slices: the log of its total minus the mean logit.

    Args:
        sums_NC: sum of exp(a) over each slice, where a is the logits minus the slice's largest.
        moments_NC: sum of a * exp(a) over each slice.
        tops_NC: largest logit of each slice minus the largest of all.

    Returns:
        float32 [N], nats.
    """
    scales = tops_NC.exp()
    total = (scales * sums_NC).sum(dim=1)
    # Rounding can make the entropy of a certain outcome negative.
    return (total.log() - (scales * (moments_NC + tops_NC * sums_NC)).sum(dim=1) / total).clamp(min=0)
