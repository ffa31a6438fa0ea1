"""The training objective: masked video modelling, on parallel targets or on the clips after one history.

Losses are returned as sums and counts for each latent, since a step's loss is the mean over the hidden tokens of all
its micro-batches in all processes.
"""

from typing import NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hwm_env.draws import uniform
from hwm_env.model.heads import CodebookHead
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.masking import corrupt, draw_mask
from hwm_env.types import FRAMES_PER_CLIP, FRAMES_PER_LATENT

_SPOILT, _HIDDEN, _FUTURE, _PAST, _OWN = 0, 1, 3, 5, 7
"""Numbers of the draws of a sample (`hwm_env.draws`)."""
OWN_CLIPS = 0.5
"""Share of a sample's past clips that are replaced by own predictions, if any are."""
LARGE = 4096
"""From this many outputs on, the head is computed for hidden tokens alone."""
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
    """bool [K, T_p]: which past clips of the first K samples are replaced by the model's own predictions; `None` if
    none are."""
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
    seeds_B: Tensor,
    codebook_size: int,
    max_corruption: float,
    num_own: int | None = None,
    spoilt_share: float = 0.0,
) -> Targets:
    """Hides and corrupts tokens of each sample by its own seed, so that the result does not depend on the division.

    Args:
        targets: from `arrange`.
        seeds_B: int64 [B], seeds of the samples.
        codebook_size: V, also the mask token.
        max_corruption: past and future tokens are replaced by random ones at a rate drawn from U(0, max_corruption).
        num_own: number of samples, the first ones, in which half of the past clips are replaced by the model's own
            predictions; `None` if the model need not run for that.
        spoilt_share: share of the samples whose past is corrupted at a rate drawn from U(0, 1) instead.
    """
    rate_B = torch.where(uniform(seeds_B, _SPOILT) < spoilt_share, 1.0, max_corruption)
    mask = draw_mask((*targets.tokens.shape[1:],), seeds_B, _HIDDEN)
    future = corrupt(targets.tokens, codebook_size, max_corruption, seeds_B, _FUTURE)
    own = None
    if num_own is not None:
        # Processes that share a model's weights must all run it, so each one predicts at least one sample.
        own = uniform(seeds_B[: max(1, num_own)], _OWN, (targets.past.shape[1],)) < (OWN_CLIPS if num_own else 0.0)
    return targets._replace(
        past=corrupt(targets.past, codebook_size, rate_B, seeds_B, _PAST),
        future=future.masked_fill(mask, codebook_size),
        hidden=mask,
        own=own,
    )


def hide_all(targets: Targets, codebook_size: int) -> Targets:
    """Hides all tokens of the future, as in the first decoding step."""
    return targets._replace(
        future=torch.full_like(targets.future, codebook_size), hidden=torch.ones_like(targets.hidden)
    )


class MaskedModelling(nn.Module):
    """A model as a function from targets to losses, which distributed training wraps."""

    def __init__(self, model: MaskedHWM, *, parallel_targets: bool) -> None:
        super().__init__()
        self.model = model
        self.parallel_targets = parallel_targets

    def forward(self, targets: Targets) -> LossSums:
        """Sums the losses of all hidden tokens."""
        model = self.model
        if targets.own is not None:
            targets = targets._replace(past=with_own_predictions(model, targets, targets.own))
        features_BTLSD = features_of(model, targets, parallel_targets=self.parallel_targets)
        tokens, hidden = targets.tokens.flatten(3), targets.hidden.flatten(3)
        sums = []
        for latent in range(tokens.shape[2]):
            of_latent = features_BTLSD[:, :, latent if features_BTLSD.shape[2] > 1 else 0]
            parts = (of_latent.flatten(0, 2), tokens[:, :, latent].flatten(), hidden[:, :, latent].flatten())
            if sum(model.head.levels) >= LARGE:
                # Worth the wait for the number of hidden tokens.
                chosen = parts[2]
                parts = (parts[0][chosen], parts[1][chosen], parts[2][chosen])
            sums.append(token_losses(model.head, parts[0], latent, *parts[1:]))
        losses, rights = zip(*sums, strict=True)
        return LossSums(torch.stack(losses), torch.stack(rights))


def features_of(model: MaskedHWM, targets: Targets, *, parallel_targets: bool) -> Tensor:
    """Returns the features that the model's head predicts the targets' tokens from; see `MaskedHWM.future_features`."""
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
def with_own_predictions(model: MaskedHWM, targets: Targets, own_KT: Tensor) -> Tensor:
    """Returns the past of parallel targets with some clips of the first K samples replaced by the model's predictions.

    In a closed loop, the past contains the model's own errors, from which a model that was only trained on recorded
    pasts does not recover. The predictions are the most probable tokens, computed in one pass for all clips, each from
    the clips before it in `past`; the first clip, which has no past, is kept.
    """
    rows = slice(len(own_KT))
    chosen = targets._replace(
        past=targets.past[rows],
        future=torch.full_like(targets.future[rows], model.config.codebook_size),
        actions_past=targets.actions_past[rows],
        actions_future=targets.actions_future[rows],
        scene_past=None if targets.scene_past is None else targets.scene_past[rows],
        scene_future=None if targets.scene_future is None else targets.scene_future[rows],
    )
    # The number of samples changes from step to step, and each would be compiled again.
    with torch.compiler.set_stance("force_eager"):
        digit_logits = model.head(features_of(model, chosen, parallel_targets=True))
    digits = torch.stack([part.argmax(dim=-1) for part in model.head.split(digit_logits)], dim=-1)
    predicted = model.head.fsq.digits_to_codes(digits).to(targets.past.dtype)
    # Targets are one clip later than the past: the prediction of past clip t is target t - 1.
    shifted = torch.cat([chosen.past[:, :1], predicted[:, :-1]], dim=1)
    past = torch.cat([torch.where(own_KT[:, :, None, None, None], shifted, chosen.past), targets.past[len(own_KT) :]])
    # Autocast caches the weights that it casts, and those cast here, without gradients, would never get one.
    torch.clear_autocast_cache()
    return past


def token_losses(
    head: CodebookHead, features_ND: Tensor, latent: int, tokens_N: Tensor, hidden_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the cross-entropy of hidden tokens and the number of most probable ones, both summed.

    Args:
        head: the model's head.
        features_ND: float [N, D].
        latent: latent of the tokens, counted from the first predicted one.
        tokens_N: int [N].
        hidden_N: bool [N]; the others do not count.
    """

    def of_rows(features: Tensor, tokens: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        logits = head.logits(features, latent)
        digits = head.fsq.codes_to_digits(tokens)
        most_probable = torch.stack([part.argmax(-1) for part in head.split(logits.detach())], dim=-1)
        loss = torch.where(hidden, head.cross_entropy(logits, tokens), 0.0).sum()
        return loss, (most_probable.eq(digits).all(dim=-1) & hidden).sum().float()

    at_once = max(1, ELEMENTS_AT_ONCE // sum(head.levels))
    if len(features_ND) <= at_once:
        return of_rows(features_ND, tokens_N, hidden_N)
    parts = [
        checkpoint(of_rows, *rows, use_reentrant=False)
        for rows in zip(*(part.split(at_once) for part in (features_ND, tokens_N, hidden_N)), strict=True)
    ]
    losses, rights = zip(*parts, strict=True)
    return torch.stack(losses).sum(), torch.stack(rights).sum()
