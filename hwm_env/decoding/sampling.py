"""Draws tokens from features, and never holds the logits of a large codebook for all of a clip's tokens at once.

Everything is drawn by inverting a cumulative distribution, with one uniform number a softmax that the caller gives.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.prior import Prior
from hwm_env.model.heads import CodebookHead

ELEMENTS_AT_ONCE = 2**24
"""Logits that exist at once where rows need their whole softmax: 64 MB."""
LARGE = 4096
"""From this many outcomes on, a softmax is walked through in slices of outcomes."""
ROWS_AT_ONCE, OUTCOMES_AT_ONCE = 1024, 512
"""Size of such a slice: 2 MB of logits, which stay in a processor's cache from the product to the sum."""


class Drawn(NamedTuple):
    """Tokens drawn, and what is known about what they were drawn from: neither tempered nor truncated."""

    tokens: Tensor
    """int32 [N]."""
    log_prob: Tensor
    """float32 [N], nats; NaN where any of the logits behind the token is not finite."""
    entropy: Tensor
    """float32 [N], nats: of the distribution over the codes that may be drawn."""


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
    """Draws a token from each vector; one that is not finite gives some token, and leaves the others as they are.

    Args:
        head: turns features into logits.
        features_ND: float [N, D].
        latents_N: int [N], which latent each token belongs to, counted from the first that is predicted.
        uniform: float32 [N, at least digits] in [0, 1); may be None at temperature 0.
        config: temperature and truncation.
        num_codes: tokens from this one on are never drawn (a codebook may be smaller than the model's vocabulary).
        prior: of these tokens, mixed into their logits.
    """
    tokens = torch.empty(len(features_ND), dtype=torch.int32, device=features_ND.device)
    log_prob = torch.empty(len(features_ND), device=features_ND.device)
    entropy = torch.empty_like(log_prob)
    num_outputs = sum(head.levels)
    whole = len(head.levels) == 1 and config.top_k is None and config.top_p == 1 and prior is None
    walk = num_outputs >= LARGE and whole
    for latent in range(head.num_latents):
        rows_of_latent = (latents_N == latent).nonzero().squeeze(1)
        at_once = ROWS_AT_ONCE if walk else max(1, ELEMENTS_AT_ONCE // num_outputs)
        for rows in rows_of_latent.split(at_once):
            x, u = features_ND[rows], None if uniform is None else uniform[rows]
            if walk:
                drawn = _walk(*head.rows_of(latent), x, u, config.temperature, num_codes)
            else:
                logits = head.logits(x, latent)
                mixed = logits if prior is None else prior.select(rows).mixed(logits)
                drawn = sample_tokens(head, mixed, u, config, num_codes)
            tokens[rows], log_prob[rows], entropy[rows] = drawn
    # A logit of minus infinity leaves the other outcomes' probabilities finite, but never the sum of p * log p.
    return Drawn(tokens, log_prob.masked_fill_(~entropy.isfinite(), torch.nan), entropy)


def sample_tokens(
    head: CodebookHead, logits: Tensor, uniform: Tensor | None, config: DecodingConfig, num_codes: int
) -> Drawn:
    """Draws tokens, each softmax by itself.

    Args:
        head: interprets the logits.
        logits: float [N, n].
        uniform: float32 [N, at least digits]; may be None at temperature 0.
        config: temperature and truncation.
        num_codes: tokens from this one on are never drawn.
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
        # The digits are independent given the features, so their entropies add up to the token's.
        entropy -= (log_probs.exp() * log_probs).sum(dim=-1)
    return Drawn(head.fsq.digits_to_codes(torch.stack(digits, dim=-1)).int(), log_prob, entropy)


def truncated(logits: Tensor, top_k: int | None, top_p: float) -> Tensor:
    """Logits [N, V] with minus infinity outside of the k most probable outcomes, and of the nucleus of mass p of those.

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
    """The outcome at which the cumulative sum of weights [N, V] passes target [N, 1]."""
    # Rounding can leave the whole sum below the target: stay within the outcomes.
    return (weights.cumsum(dim=-1) <= target).sum(dim=-1).clamp(max=weights.shape[-1] - 1)


def _walk(weight: Tensor, bias: Tensor, x: Tensor, uniform: Tensor | None, temperature: float, num_codes: int) -> Drawn:
    """Draws from one large softmax, slice of outcomes by slice: for the slices' sums, then in the chosen slices."""
    starts = range(0, num_codes, OUTCOMES_AT_ONCE)
    buffer = torch.empty(len(x), OUTCOMES_AT_ONCE, dtype=x.dtype, device=x.device)
    largest, where, sums, moments, tempered_sums = [], [], [], [], []

    def logits_of(start: int, rows: Tensor | None = None) -> Tensor:
        stop = min(start + OUTCOMES_AT_ONCE, num_codes)
        chosen = x if rows is None else x[rows]
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
        rows = (slices == index).nonzero().squeeze(1)
        logits = logits_of(starts[index], rows)
        outcome = _invert(((logits - highest[rows]) / temperature).exp(), rest[rows])
        tokens[rows] = (starts[index] + outcome).int()
        log_prob[rows] = logits.gather(1, outcome[:, None]).squeeze(1) - log_total[rows]
    return Drawn(tokens, log_prob, entropy)


def _entropy(sums_NC: Tensor, moments_NC: Tensor, tops_NC: Tensor) -> Tensor:
    """Entropy of a softmax from its slices: log of its total less the mean logit.

    Args:
        sums_NC: of exp(a) in each slice, a the logits less the slice's largest.
        moments_NC: of a * exp(a).
        tops_NC: the slices' largest logits less the largest of all.

    Returns:
        float32 [N], nats.
    """
    scales = tops_NC.exp()
    total = (scales * sums_NC).sum(dim=1)
    # Rounding can leave the entropy of a certain outcome below 0.
    return (total.log() - (scales * (moments_NC + tops_NC * sums_NC)).sum(dim=1) / total).clamp(min=0)
