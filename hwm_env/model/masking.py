"""Masks: which places joint temporal attention sees, and which tokens training hides or replaces."""

import math

import torch
from torch import Tensor

from hwm_env.draws import bits, uniform
from hwm_env.model.checks import check_parallel_targets
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.timeline import Timeline


def visibility(config: MaskedHWMConfig, timeline: Timeline, *, parallel_targets: bool) -> Tensor | None:
    """Returns which places each place sees under the model's mask, see `clip_causal_visibility`; `None`: all.

    Raises:
        InvalidInputError: parallel targets, but the configuration lets a target see the clips around it.
    """
    if parallel_targets:
        check_parallel_targets(config)
    if config.temporal_mask == "bidirectional":
        return None
    past, future = timeline.clips[: timeline.num_past], timeline.clips[timeline.num_past :]
    return clip_causal_visibility(past, future, parallel_targets=parallel_targets)


def clip_causal_visibility(past_times: Tensor, future_times: Tensor, *, parallel_targets: bool) -> Tensor:
    """Returns which clips each clip sees in joint temporal attention.

    A clip sees the video and the actions of earlier clips and of itself. The mask follows clip times, not indices in
    the concatenation of the streams: by index, future video would precede the actions and never see one.

    Args:
        past_times: int [P], clip times of the past's places in time, whose tokens are known.
        future_times: int [F], clip times of the future's places, whose tokens are masked.
        parallel_targets: whether each masked clip is a target of its own, which sees itself and the past before it,
            but no other masked clip. Otherwise masked clips also see the masked clips before them.

    Returns:
        bool [2 * (P + F), 2 * (P + F)], queries by keys, over the sequence [video_past, video_future,
        actions_past, actions_future]; `True`: visible.
    """
    past_sees_past = past_times[:, None] >= past_times[None, :]
    past_sees_future = torch.zeros(len(past_times), len(future_times), dtype=torch.bool, device=past_times.device)
    future_sees_past = future_times[:, None] > past_times[None, :]
    if parallel_targets:
        future_sees_future = future_times[:, None] == future_times[None, :]
    else:
        future_sees_future = future_times[:, None] >= future_times[None, :]
    clips = torch.cat(
        [
            torch.cat([past_sees_past, past_sees_future], dim=1),
            torch.cat([future_sees_past, future_sees_future], dim=1),
        ]
    )
    return clips.repeat(2, 2)


def history_visibility(query_times: Tensor, key_times: Tensor) -> Tensor:
    """Returns the same rule among past clips: bool [2Q, 2K], queries by keys, both as [video, actions]."""
    return (query_times[:, None] >= key_times[None, :]).repeat(2, 2)


def corrupt(tokens: Tensor, codebook_size: int, max_rate: float | Tensor, seeds_B: Tensor, stream: int = 0) -> Tensor:
    """Replaces a share of each sample's tokens, drawn from U(0, max_rate), with uniformly random tokens.

    Args:
        tokens: int [B, ...].
        codebook_size: V; the replacements lie in 0..V-1.
        max_rate: the largest share, 0..1; a number, or float [B].
        seeds_B: int64 [B], seeds of the samples.
        stream: number of the draw, for independent draws from one seed; the next number is used as well.

    Returns:
        int [B, ...], a new tensor.
    """
    rate_B = max_rate * uniform(seeds_B, stream)
    drawn = bits(seeds_B, stream + 1, tuple(tokens.shape[1:]))
    # The upper 24 bits choose, the lower 39 are the token.
    chosen = (drawn >> 39).float() * 2.0**-24 < rate_B.view(-1, *[1] * (tokens.ndim - 1))
    return torch.where(chosen, ((drawn & (2**39 - 1)) % codebook_size).to(tokens.dtype), tokens)


def draw_mask(shape: tuple[int, int, int, int], seeds_B: Tensor, stream: int = 0) -> Tensor:
    """Draws which future tokens are hidden (MaskGIT, arXiv 2202.04200, section 3.2, per clip).

    Each clip draws r ~ U(0, 1) and hides each of its tokens with probability cos(r * pi / 2), but at least one.

    Args:
        shape: (T, L, H, W).
        seeds_B: int64 [B], seeds of the samples.
        stream: number of the draw, for independent draws from one seed; the next number is used as well.

    Returns:
        bool [B, T, L, H, W]; `True`: hidden.
    """
    clips, *rest = shape
    rate = torch.cos(uniform(seeds_B, stream, (clips, 1)) * (math.pi / 2))
    drawn = uniform(seeds_B, stream + 1, (clips, math.prod(rest)))
    mask = drawn < rate
    mask |= drawn == drawn.amin(dim=-1, keepdim=True)
    return mask.view(len(seeds_B), *shape)
