"""The training objective: masked video modelling, on parallel targets or on the clips after one history.

Losses are returned as sums and counts for each latent, since a step's loss is the mean over the hidden tokens of all
its micro-batches in all processes.
"""

from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hwm_env.model.heads import CodebookHead
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.masking import corrupt, draw_mask
from hwm_env.types import FRAMES_PER_CLIP, FRAMES_PER_LATENT

OWN_CLIPS = 0.5
"""Share of a sample's past clips that are replaced by own predictions, if any are."""
ELEMENTS_AT_ONCE = 2**26
"""Maximum number of logits in memory: 256 MB. Those of a large codebook are recomputed for their gradients."""


class SampleBatch(TypedDict):
    """Samples as tensors; see `hwm_env.data.samples.ClipSample`."""

    video_past: Tensor
    """int32 [B, P, 3, H, W]"""
    video_future: Tensor
    """int32 [B, F, 3, H, W]"""
    actions_past: Tensor
    """float32 [B, 17 * P, 25]"""
    actions_future: Tensor
    """float32 [B, 17 * F, 25]"""
    poses_past: NotRequired[Tensor]
    """float32 [B, 17 * P, 3]"""
    poses_future: NotRequired[Tensor]
    """float32 [B, 17 * F, 3]"""


class Targets(NamedTuple):
    """A batch for the objective: inputs of the model, and the tokens to predict."""

    past: Tensor
    """int [B, T_p, L_p, H, W]: tokens of the clean past, some corrupted."""
    future: Tensor
    """int [B, T_f, L, H, W]: tokens of the future; hidden ones are masked, some of the others corrupted."""
    actions_past: Tensor
    """float [B, frames, 25]."""
    actions_future: Tensor
    """float [B, frames, 25]."""
    times: Tensor
    """int [T_f]: clip times of the future clips."""
    tokens: Tensor
    """int [B, T_f, L, H, W]: the true tokens of the future."""
    hidden: Tensor
    """bool [B, T_f, L, H, W]: which of them are hidden; the loss covers only these."""
    own: Tensor | None = None
    """bool [B, T_p]: which past clips are replaced by the model's own predictions; `None` if none are."""
    scene_past: Tensor | None = None
    """float [B, T_p, S, C]: the scene's inputs for the past; `None` for a model that reads none."""
    scene_future: Tensor | None = None
    """float [B, T_f, S, C]: the scene's inputs for the future."""

    @property
    def counts(self) -> Tensor:
        """Number of hidden tokens of each latent, float64 [L]."""
        return self.hidden.sum((0, 1, 3, 4), dtype=torch.float64)


class LossSums(NamedTuple):
    """Sums over hidden tokens, each float [L]."""

    loss: Tensor
    """Cross-entropy in nats."""
    right: Tensor
    """Number of tokens of which every digit is predicted correctly."""


def arrange(
    model: MaskedHWM, batch: SampleBatch, *, parallel_targets: bool, scene_BTSC: Tensor | None = None
) -> Targets:
    """Divides samples into past and future, without hiding tokens.

    With parallel targets, clips 0 to T - 1 of a sequence of T + 1 clips are the clean past and clips 1 to T the
    futures. Future clip t attends to the past before t, itself and the actions up to t, as in the simulator, for every
    length of history at once. Without parallel targets, past and future are those of the samples. A model with
    `past_latents` divides a single clip.

    Args:
        model: the model to train.
        batch: the samples.
        parallel_targets: see above.
        scene_BTSC: the scene's inputs for all clips, past and future; `None` for a model that reads none.
    """
    past, future = batch["video_past"], batch["video_future"]
    a_p, a_f = batch["actions_past"], batch["actions_future"]
    num_past = past.shape[1]
    times = torch.arange(num_past, num_past + future.shape[1], device=past.device)
    if model.config.past_latents is not None:
        latents = model.config.past_latents
        frames = sum(FRAMES_PER_LATENT[:latents])
        past, future = future[:, :, :latents], future[:, :, latents:]
        a_p, a_f = a_f[:, :frames], a_f[:, frames:]
        times = times + 1
    elif parallel_targets:
        tokens, actions = torch.cat([past, future], dim=1), torch.cat([a_p, a_f], dim=1)
        past, future = tokens[:, :-1], tokens[:, 1:]
        a_p, a_f = actions[:, :-FRAMES_PER_CLIP], actions[:, FRAMES_PER_CLIP:]
        times = torch.arange(1, num_past + 1, device=past.device)
    targets = Targets(past, future, a_p, a_f, times, future, torch.zeros_like(future, dtype=torch.bool))
    if scene_BTSC is None:
        return targets
    return targets._replace(scene_past=scene_BTSC[:, : past.shape[1]], scene_future=scene_BTSC[:, -future.shape[1] :])


def draw_targets(
    targets: Targets,
    seeds: list[int],
    codebook_size: int,
    max_corruption: float,
    own_share: float = 0.0,
    spoilt_share: float = 0.0,
) -> Targets:
    """Hides and corrupts tokens of each sample by its own seed, so that the result does not depend on the division.

    Args:
        targets: from `arrange`.
        seeds: one seed for each of the B samples.
        codebook_size: V, also the mask token.
        max_corruption: past and future tokens are replaced by random ones at a rate drawn from U(0, max_corruption).
        own_share: share of the samples in which half of the past clips are replaced by the model's own predictions.
        spoilt_share: share of the samples whose past is corrupted at a rate drawn from U(0, 1) instead.
    """
    past, future, hidden, own = [], [], [], []
    device = targets.tokens.device
    for row, seed in enumerate(seeds):
        generator = torch.Generator(device).manual_seed(seed)
        is_spoilt = spoilt_share > 0 and bool(torch.rand((), generator=generator, device=device) < spoilt_share)
        past_corruption = 1.0 if is_spoilt else max_corruption
        past.append(corrupt(targets.past[row : row + 1], codebook_size, past_corruption, generator))
        future.append(corrupt(targets.tokens[row : row + 1], codebook_size, max_corruption, generator))
        batch, clips, latents, rows, columns = future[-1].shape
        hidden.append(draw_mask((batch, clips, latents, rows, columns), generator, device))
        chosen = torch.rand(1 + targets.past.shape[1], generator=generator, device=device)
        own.append((chosen[0] < own_share) & (chosen[1:] < OWN_CLIPS))
    mask = torch.cat(hidden)
    return targets._replace(
        past=torch.cat(past),
        future=torch.cat(future).masked_fill(mask, codebook_size),
        hidden=mask,
        own=torch.stack(own) if own_share else None,
    )


def hide_all(targets: Targets, codebook_size: int) -> Targets:
    """Hides all tokens of the future, as in the first decoding step."""
    return targets._replace(
        future=torch.full_like(targets.future, codebook_size), hidden=torch.ones_like(targets.hidden)
    )


def sample_seeds(seed: int, step: int, samples: range) -> list[int]:
    """Returns the seeds of a step's samples, 0..2^63-1, each by its row in the whole batch."""
    return [
        int(np.random.SeedSequence([seed, step, sample]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        for sample in samples
    ]


class MaskedModelling(nn.Module):
    """A model as a function from targets to losses, which distributed training wraps."""

    def __init__(self, model: MaskedHWM, *, parallel_targets: bool) -> None:
        super().__init__()
        self.model = model
        self.parallel_targets = parallel_targets

    def forward(self, targets: Targets) -> LossSums:
        """Sums the losses of all hidden tokens; the head is only computed for these."""
        model = self.model
        if targets.own is not None:
            targets = targets._replace(past=with_own_predictions(model, targets, targets.own))
        features_BTLSD = _features(model, targets, parallel_targets=self.parallel_targets)
        tokens, hidden = targets.tokens.flatten(3), targets.hidden.flatten(3)
        losses, rights = [], []
        for latent in range(tokens.shape[2]):
            of_latent = features_BTLSD[:, :, latent if features_BTLSD.shape[2] > 1 else 0]
            chosen = hidden[:, :, latent]
            loss, right = token_losses(model.head, of_latent[chosen], latent, tokens[:, :, latent][chosen])
            losses.append(loss)
            rights.append(right)
        return LossSums(torch.stack(losses), torch.stack(rights))


def _features(model: MaskedHWM, targets: Targets, *, parallel_targets: bool) -> Tensor:
    setting = model.prepare(
        targets.past.shape[1],
        targets.actions_past,
        targets.actions_future,
        targets.times,
        parallel_targets=parallel_targets,
        scene_p=targets.scene_past,
        scene_f=targets.scene_future,
    )
    return model.future_features(setting, targets.past, targets.future)


@torch.no_grad()
def with_own_predictions(model: MaskedHWM, targets: Targets, own_BT: Tensor) -> Tensor:
    """Returns the past of parallel targets with some clips (bool [B, T_p]) replaced by the model's predictions.

    In a closed loop, the past contains the model's own errors, from which a model that was only trained on recorded
    pasts does not recover. The predictions are the most probable tokens, computed in one pass for all clips, each from
    the clips before it in `past`; the first clip, which has no past, is kept.
    """
    rows = own_BT.any(dim=1)
    # Processes that share a model's weights must all run it, so each one predicts at least one sample.
    rows[0] = True
    chosen = targets._replace(
        past=targets.past[rows],
        future=torch.full_like(targets.future[rows], model.config.codebook_size),
        actions_past=targets.actions_past[rows],
        actions_future=targets.actions_future[rows],
        scene_past=None if targets.scene_past is None else targets.scene_past[rows],
        scene_future=None if targets.scene_future is None else targets.scene_future[rows],
    )
    digit_logits = model.head(_features(model, chosen, parallel_targets=True))
    digits = torch.stack([part.argmax(dim=-1) for part in model.head.split(digit_logits)], dim=-1)
    predicted = model.head.fsq.digits_to_codes(digits).to(targets.past.dtype)
    # Targets are one clip later than the past: the prediction of past clip t is target t - 1.
    shifted = torch.cat([chosen.past[:, :1], predicted[:, :-1]], dim=1)
    past = targets.past.clone()
    past[rows] = torch.where(own_BT[rows][:, :, None, None, None], shifted, chosen.past)
    # Autocast caches the weights that it casts, and those cast here, without gradients, would never get one.
    torch.clear_autocast_cache()
    return past


def token_losses(head: CodebookHead, features_ND: Tensor, latent: int, tokens_N: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the cross-entropy of tokens and the number of most probable ones, both summed over N.

    Args:
        head: the model's head.
        features_ND: float [N, D].
        latent: latent of the tokens, counted from the first predicted one.
        tokens_N: int [N].
    """

    def of_rows(features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        logits = head.logits(features, latent)
        digits = head.fsq.codes_to_digits(tokens)
        most_probable = torch.stack([part.argmax(-1) for part in head.split(logits.detach())], dim=-1)
        return head.cross_entropy(logits, tokens).sum(), most_probable.eq(digits).all(dim=-1).sum().float()

    at_once = max(1, ELEMENTS_AT_ONCE // sum(head.levels))
    if len(features_ND) <= at_once:
        return of_rows(features_ND, tokens_N)
    parts = [
        checkpoint(of_rows, features, tokens, use_reentrant=False)
        for features, tokens in zip(features_ND.split(at_once), tokens_N.split(at_once), strict=True)
    ]
    losses, rights = zip(*parts, strict=True)
    return torch.stack(losses).sum(), torch.stack(rights).sum()
