"""MaskGIT: iterative parallel decoding of masked tokens (Chang et al., arXiv 2202.04200, section 3.2)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig
from hwm_env.errors import InvalidInputError
from hwm_env.model.heads import FactoredHead


class Decoded(NamedTuple):
    """A decoded clip."""

    tokens: Tensor
    """int32 [B, 3, H, W]."""
    log_prob: Tensor
    """float32 [B, 3, H, W]: log-probability of each token, in nats, when it was chosen (temperature 1)."""


def masked_counts(num_tokens: int, steps: int) -> list[int]:
    """How many tokens are still masked after each of K steps: cos(pi/2 * k/K) of them, at least one fewer each time.

    Raises:
        InvalidInputError: there are more steps than tokens.
    """
    if steps > num_tokens:
        raise InvalidInputError(f"decoding steps must be at most the {num_tokens} tokens of a clip, got {steps}")
    counts: list[int] = []
    before = num_tokens
    for step in range(1, steps + 1):
        cosine = round(num_tokens * math.cos(math.pi / 2 * step / steps))
        before = max(min(cosine, before - 1), steps - step)
        counts.append(before)
    return counts


def decode_clip(
    predict: Callable[[Tensor], Tensor],
    head: FactoredHead,
    shape: tuple[int, int, int, int],
    config: DecodingConfig,
    uniforms: Tensor | None,
    device: torch.device,
) -> Decoded:
    """Decodes one clip from nothing but masks.

    Args:
        predict: digit logits [B, 3, H, W, sum(levels)] of a partly masked clip int [B, 3, H, W].
        head: interprets the logits.
        shape: (B, 3, H, W).
        config: steps, temperature and order.
        uniforms: float32 [B, K, 3 * H * W, digits + 1] in [0, 1): a number for each digit and one for the order; None
            where temperature is 0 and the order is by confidence.
        device: where to decode.
    """
    batch, num_tokens = shape[0], math.prod(shape[1:])
    mask_token = head.fsq.codebook_size
    tokens = torch.full((batch, num_tokens), mask_token, dtype=torch.int32, device=device)
    log_prob = torch.zeros(batch, num_tokens, device=device)
    num_masked = num_tokens
    for step, num_left in enumerate(masked_counts(num_tokens, config.steps)):
        logits = predict(tokens.view(shape)).float().flatten(1, 3)
        uniform = None if uniforms is None else uniforms[:, step]
        drawn, drawn_log_prob = sample_tokens(head, logits, config.temperature, uniform)
        if config.order == "random":
            assert uniform is not None, "random order needs uniforms"
            priority = uniform[..., -1]
        else:
            priority = drawn_log_prob
        priority = priority.masked_fill(tokens != mask_token, -torch.inf)
        revealed = priority.topk(num_masked - num_left, dim=1).indices
        tokens.scatter_(1, revealed, drawn.gather(1, revealed))
        log_prob.scatter_(1, revealed, drawn_log_prob.gather(1, revealed))
        num_masked = num_left
    return Decoded(tokens.view(shape), log_prob.view(shape))


def sample_tokens(
    head: FactoredHead, logits: Tensor, temperature: float, uniform: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Draws a token at every position, by inverting each digit's cumulative distribution.

    Args:
        head: interprets the logits.
        logits: float32 [B, N, sum(levels)].
        temperature: divides the logits; 0 takes the most probable digits.
        uniform: float32 [B, N, at least digits] in [0, 1); may be None at temperature 0.

    Returns:
        tokens int32 [B, N] and their log-probabilities at temperature 1, float32 [B, N].
    """
    digits = []
    log_prob = torch.zeros(logits.shape[:-1], device=logits.device)
    for index, part in enumerate(head.split(logits)):
        if temperature == 0:
            digit = part.argmax(dim=-1)
        else:
            assert uniform is not None, "sampling needs uniforms"
            cumulative = (part / temperature).softmax(dim=-1).cumsum(dim=-1)
            # Rounding can leave the last cumulative value below a uniform number: stay within the digit's levels.
            digit = (cumulative <= uniform[..., index, None]).sum(dim=-1).clamp(max=part.shape[-1] - 1)
        digits.append(digit)
        log_prob += part.log_softmax(dim=-1).gather(-1, digit[..., None]).squeeze(-1)
    return head.fsq.digits_to_codes(torch.stack(digits, dim=-1)).int(), log_prob
