"""The naive MaskGIT loop: every decoding step runs the network over all clips, and the heads over all tokens."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.halton import halton_order
from hwm_env.model.masked_hwm import MaskedHWM
from tests.naive import Sees, naive_digit_logits


@torch.no_grad()
def naive_decode(
    model: MaskedHWM,
    tokens: Tensor,
    actions: Tensor,
    chunk: Tensor,
    decoding: DecodingConfig,
    uniforms: Tensor | None,
    num_codes: int | None = None,
    sees: Sees | None = None,
    scene: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Decodes the clip after a history with K passes over all clips.

    Args:
        model: the world model.
        tokens: tokens of the history, int [B, T, 3, H, W].
        actions: actions of the history, float [B, T, 17, 25].
        chunk: actions of the clip to decode, float [B, 17, 25].
        decoding: settings of decoding; `history` is ignored (see `sees`).
        uniforms: float [B, K, 3 * H * W, digits + 1] in [0, 1), the last for a random order; `None` if nothing is
            random.
        num_codes: tokens from this index on are never drawn by a joint head.
        sees: see `naive_logits`.
        scene: see `naive_logits`.

    Returns:
        Tokens int32 [B, 3, H, W]; the log-probability of each when it was chosen, at temperature 1; and the entropy of
        the distribution that it was chosen from.
    """
    batch, _, latents, rows, columns = tokens.shape
    count = latents * rows * columns
    mask_token = model.config.codebook_size
    clip = torch.full((batch, count), mask_token, dtype=torch.int32, device=tokens.device)
    log_prob, entropy = torch.zeros(2, batch, count, device=tokens.device)
    left = count
    for step in range(1, decoding.steps + 1):
        masked = clip == mask_token
        v_f = clip.view(batch, latents, 1, rows, columns)
        logits = naive_digit_logits(model, tokens.transpose(1, 2), v_f, actions.flatten(1, 2), chunk, sees, scene)
        logits = logits.squeeze(2).flatten(2, 3)
        uniform = None if uniforms is None else uniforms[:, step - 1].unflatten(1, (latents, -1)).transpose(0, 1)
        drawn, drawn_log_prob, drawn_entropy = (
            part.transpose(0, 1).flatten(1)
            for part in _draw(logits, uniform, model.config.head_levels, decoding, num_codes)
        )
        if decoding.order == "confidence":
            score = drawn_log_prob
        elif decoding.order == "random":
            score = uniforms[:, step - 1, :, -1]
        else:
            rank = halton_order(latents, rows, columns).argsort().to(tokens.device)
            score = -rank.float().expand(batch, -1)
        still_masked = round(count * math.cos(math.pi / 2 * step / decoding.steps))
        # Each step reveals at least one token, and leaves one for each of the steps that follow.
        still_masked = max(min(still_masked, left - 1), decoding.steps - step)
        best = score.masked_fill(~masked, -math.inf).topk(left - still_masked, dim=1).indices
        revealed = torch.zeros_like(masked).scatter(1, best, True)
        clip = torch.where(revealed, drawn.int(), clip)
        log_prob = torch.where(revealed, drawn_log_prob, log_prob)
        entropy = torch.where(revealed, drawn_entropy, entropy)
        left = still_masked
    shape = (batch, latents, rows, columns)
    return clip.view(shape), log_prob.view(shape), entropy.view(shape)


def _draw(
    logits: Tensor, uniform: Tensor | None, levels: tuple[int, ...], decoding: DecodingConfig, num_codes: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws a token from each of the logits [L, B, S, n], digit by digit.

    Returns:
        Tokens, their log-probabilities, and the entropies of their distributions, each [L, B, S].
    """
    token, total, entropy, place_value = 0, 0, 0, 1
    for index, digit_logits in enumerate(logits.split(levels, dim=-1)):
        if len(levels) == 1 and num_codes is not None:
            digit_logits = digit_logits[..., :num_codes]
        if decoding.temperature == 0:
            digit = digit_logits.argmax(dim=-1)
        else:
            tempered = _truncate(digit_logits / decoding.temperature, decoding)
            cumulative = tempered.softmax(dim=-1).cumsum(dim=-1)
            digit = (cumulative <= uniform[..., index : index + 1]).sum(dim=-1).clamp(max=cumulative.shape[-1] - 1)
        total = total + digit_logits.log_softmax(dim=-1).gather(-1, digit[..., None]).squeeze(-1)
        entropy = entropy + torch.distributions.Categorical(logits=digit_logits).entropy()
        token = token + place_value * digit
        place_value *= levels[index]
    return token, total, entropy


def _truncate(logits: Tensor, decoding: DecodingConfig) -> Tensor:
    """Returns logits with minus infinity outside the k most probable outcomes and their nucleus of mass p."""
    if decoding.top_k is None and decoding.top_p == 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    if decoding.top_k is not None:
        ordered[..., decoding.top_k :] = -math.inf
    probabilities = ordered.softmax(dim=-1)
    mass_before = F.pad(probabilities.cumsum(dim=-1), (1, -1))
    # Without this condition, rounding could drop an outcome although the nucleus is everything.
    if decoding.top_p < 1:
        ordered = ordered.masked_fill(mass_before >= decoding.top_p, -math.inf)
    return torch.empty_like(logits).scatter(-1, order, ordered)
