"""MaskGIT: iterative parallel decoding of masked tokens (Chang et al., arXiv 2202.04200, section 3.2)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.halton import halton_order
from hwm_env.decoding.prior import Prior
from hwm_env.decoding.sampling import Drawn, draw_tokens
from hwm_env.errors import InvalidInputError
from hwm_env.model.heads import CodebookHead


class Decoded(NamedTuple):
    """A decoded clip."""

    tokens: Tensor
    """int32 [B, 3, H, W]."""
    log_prob: Tensor
    """float32 [B, 3, H, W]: log-probability of each token when it was chosen, in nats (temperature 1); NaN where the
    network's output was not finite."""
    entropy: Tensor
    """float32 [B, 3, H, W]: entropy of the distribution that each token was drawn from, in nats (temperature 1, not
    truncated, over the codes that may be drawn)."""


def masked_counts(num_tokens: int, steps: int) -> list[int]:
    """Returns how many tokens are masked after each of K steps: a share of cos(pi/2 * k/K), at least one fewer each.

    Raises:
        InvalidInputError: there is no step, or there are more steps than tokens.
    """
    if not 1 <= steps <= num_tokens:
        raise InvalidInputError(f"decoding steps must be 1 to {num_tokens}, the tokens of a clip, got {steps}")
    counts: list[int] = []
    before = num_tokens
    for step in range(1, steps + 1):
        cosine = round(num_tokens * math.cos(math.pi / 2 * step / steps))
        before = max(min(cosine, before - 1), steps - step)
        counts.append(before)
    return counts


@torch.no_grad()
def decode_clip(
    predict: Callable[[Tensor], Tensor],
    head: CodebookHead,
    shape: tuple[int, int, int, int],
    config: DecodingConfig,
    uniforms: Tensor | None,
    device: torch.device,
    *,
    num_codes: int | None = None,
    prior: Prior | None = None,
) -> Decoded:
    """Decodes one clip whose tokens are all masked at first.

    The head runs only where needed: on all masked tokens if their probabilities decide which are revealed, else on the
    tokens that the step reveals.

    Args:
        predict: maps a partly masked clip, int [B, 3, H, W], to features [B, 3, S, D], or [B, 1, S, D] if a position's
            latents share one vector.
        head: maps features to logits.
        shape: (B, 3, H, W).
        config: steps, temperature, order and truncation.
        uniforms: float32 [B, K, 3 * H * W, digits + 1] in [0, 1): a number for each digit and one for the order;
            `None` if the temperature is 0 and the order is not random.
        device: device of the tokens.
        num_codes: tokens from this index on are never drawn; `None`: the whole vocabulary may be drawn.
        prior: logits of another source, mixed into the network's.
    """
    batch, latents, rows, columns = shape
    num_tokens, num_positions = latents * rows * columns, rows * columns
    mask_token = head.fsq.codebook_size
    tokens = torch.full((batch, num_tokens), mask_token, dtype=torch.int32, device=device)
    log_prob, entropy = (torch.zeros(batch, num_tokens, device=device) for _ in range(2))
    row_indices, in_order = torch.arange(batch, device=device)[:, None], torch.arange(num_tokens, device=device)
    if config.order == "halton":
        rank = halton_order(latents, rows, columns).argsort().to(device)
    num_masked = num_tokens
    for step, num_left in enumerate(masked_counts(num_tokens, config.steps)):
        features = predict(tokens.view(shape))
        uniform = None if uniforms is None else uniforms[:, step]
        chosen = ((tokens == mask_token) * num_tokens - in_order).topk(num_masked, dim=1).indices
        num_revealed = num_masked - num_left
        if config.order == "halton":
            chosen = chosen.gather(1, rank[chosen].topk(num_revealed, dim=1, largest=False).indices)
        elif config.order == "random":
            assert uniform is not None, "random order needs uniforms"
            chosen = chosen.gather(1, uniform[..., -1].gather(1, chosen).topk(num_revealed, dim=1).indices)
        latent, position = chosen // num_positions, chosen % num_positions
        drawn = draw_tokens(
            head,
            features[row_indices, latent if features.shape[1] > 1 else 0, position].flatten(0, 1),
            latent.flatten(),
            None if uniform is None else uniform[row_indices, chosen].flatten(0, 1),
            config,
            num_codes or mask_token,
            None if prior is None else prior.of_tokens(row_indices, latent, position),
        )
        drawn = Drawn(*(part.view_as(chosen) for part in drawn))
        if config.order == "confidence":
            # NaN sorts as the largest, so tokens that are not finite are revealed, and the caller sees them.
            best = drawn.log_prob.topk(num_revealed, dim=1).indices
            chosen, drawn = chosen.gather(1, best), Drawn(*(part.gather(1, best) for part in drawn))
        tokens.scatter_(1, chosen, drawn.tokens)
        log_prob.scatter_(1, chosen, drawn.log_prob)
        entropy.scatter_(1, chosen, drawn.entropy)
        num_masked = num_left
    return Decoded(tokens.view(shape), log_prob.view(shape), entropy.view(shape))
