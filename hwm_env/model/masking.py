"""Masks: which places joint temporal attention sees, and which tokens training hides or replaces."""

import math

import torch
from torch import Tensor

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


def corrupt(tokens: Tensor, codebook_size: int, max_rate: float, generator: torch.Generator) -> Tensor:
    """Replaces a share of each sample's tokens, drawn from U(0, max_rate), with uniformly random tokens.

    Args:
        tokens: int [B, ...].
        codebook_size: V; the replacements lie in 0..V-1.
        max_rate: the largest share, 0..1.
        generator: random generator on the tokens' device.

    Returns:
        int [B, ...], a new tensor.
    """
    device = tokens.device
    rate_B = max_rate * torch.rand(len(tokens), generator=generator, device=device)
    chosen = torch.rand(tokens.shape, generator=generator, device=device) < rate_B.view(-1, *[1] * (tokens.ndim - 1))
    random_tokens = torch.randint(codebook_size, tokens.shape, generator=generator, device=device, dtype=tokens.dtype)
    return torch.where(chosen, random_tokens, tokens)


def draw_mask(shape: tuple[int, int, int, int, int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Draws which future tokens are hidden (MaskGIT, arXiv 2202.04200, section 3.2, per clip).

    Each clip draws r ~ U(0, 1) and hides each of its tokens with probability cos(r * pi / 2), but at least one.

    Args:
        shape: (B, T, L, H, W).
        generator: random generator on `device`.
        device: of the mask.

    Returns:
        bool [B, T, L, H, W]; `True`: hidden.
    """
    batch, clips, *rest = shape
    rate = torch.cos(torch.rand(batch, clips, 1, generator=generator, device=device) * (math.pi / 2))
    uniform = torch.rand(batch, clips, math.prod(rest), generator=generator, device=device)
    mask = uniform < rate
    mask |= uniform == uniform.amin(dim=-1, keepdim=True)
    return mask.view(shape)
