"""The training objective: masked video modelling on parallel targets."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.masking import corrupt, draw_mask


@dataclass(frozen=True, slots=True)
class MaskedLoss:
    """Loss of one batch."""

    loss: Tensor
    """Cross-entropy of the hidden tokens, averaged over tokens, then over latents; nats a token."""
    accuracy: Tensor
    """Share of hidden tokens whose every digit is predicted right."""


def masked_loss(model: MaskedHWM, digit_logits: Tensor, targets: Tensor, mask: Tensor) -> MaskedLoss:
    """Cross-entropy on hidden tokens.

    Args:
        model: whose head interprets the logits.
        digit_logits: [B, T, 3, H, W, sum(levels)].
        targets: int [B, T, 3, H, W].
        mask: bool, the same shape; True: hidden, counts.
    """
    negative_log_likelihood = model.head.cross_entropy(digit_logits, targets)
    others = (0, 1, 3, 4)
    per_latent = (negative_log_likelihood * mask).sum(others) / mask.sum(others).clamp(min=1)
    with torch.no_grad():
        digits = model.head.fsq.codes_to_digits(targets)
        right = torch.stack([p.argmax(-1) for p in model.head.split(digit_logits)], dim=-1).eq(digits).all(dim=-1)
        accuracy = (right & mask).sum() / mask.sum()
    return MaskedLoss(per_latent.mean(), accuracy)


def parallel_targets_loss(
    model: MaskedHWM, tokens: Tensor, actions: Tensor, max_corruption: float, generator: torch.Generator
) -> MaskedLoss:
    """Loss of T targets from sequences of T + 1 clips: clips 0..T-1 are the clean past, clips 1..T the masked futures.

    Future clip t sees the past before t, itself and the actions up to t: the function that the simulator
    calls, for every history length at once, at about twice the cost of one pass.

    Args:
        model: the model to train.
        tokens: int [B, T + 1, 3, H, W].
        actions: float [B, T + 1, 17, 25], physical units.
        max_corruption: past and future tokens are replaced by random ones at a rate drawn from U(0, max_corruption).
        generator: source of all randomness, on the tokens' device.
    """
    codebook_size = model.config.codebook_size
    targets = tokens[:, 1:]
    past = corrupt(tokens[:, :-1], codebook_size, max_corruption, generator)
    future = corrupt(targets, codebook_size, max_corruption, generator)
    batch, clips, latents, rows, columns = targets.shape
    mask = draw_mask((batch, clips, latents, rows, columns), generator, tokens.device)
    future = future.masked_fill(mask, model.config.mask_token)
    times = torch.arange(1, clips + 1, device=tokens.device)
    a_p, a_f = actions[:, :-1].flatten(1, 2), actions[:, 1:].flatten(1, 2)
    digit_logits = model.predict(past, future, a_p, a_f, times, parallel_targets=True)
    return masked_loss(model, digit_logits, targets, mask)


@torch.no_grad()
def next_clip_loss(model: MaskedHWM, tokens: Tensor, actions: Tensor, *, shuffled: bool) -> MaskedLoss:
    """Loss of the last clip with all of its tokens hidden, given the clips before it.

    Args:
        model: the model to judge.
        tokens: int [B, T + 1, 3, H, W].
        actions: float [B, T + 1, 17, 25], physical units.
        shuffled: give each sample the last chunk of the next sample in the batch: where the loss does not rise, the
            model ignores its actions.
    """
    last = actions[:, -1].roll(1, dims=0) if shuffled else actions[:, -1]
    targets = tokens[:, -1:]
    hidden = torch.full_like(targets, model.config.mask_token)
    time = torch.tensor([tokens.shape[1] - 1], device=tokens.device)
    digit_logits = model.predict(
        tokens[:, :-1], hidden, actions[:, :-1].flatten(1, 2), last, time, parallel_targets=False
    )
    return masked_loss(model, digit_logits, targets, torch.ones_like(targets, dtype=torch.bool))
