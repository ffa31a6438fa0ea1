"""What may be seen: the clip-causal visibility of joint temporal attention, and the masks of training."""

import math

import torch
from torch import Tensor


def clip_causal_visibility(past_times: Tensor, future_times: Tensor, *, parallel_targets: bool) -> Tensor:
    """Which clip each clip sees in joint temporal attention.

    A clip sees the video and the actions of earlier clips and of itself. The mask is made from clip times
    and not from indices in the concatenation of the streams: by index, future video would come before the
    actions and never see one.

    Args:
        past_times: int [P], clip times of the clean past's places in time.
        future_times: int [F], clip times of the masked ones.
        parallel_targets: each masked clip is a target of its own, seeing the clean clips before it and itself, but
            no other masked clip. Otherwise masked clips also see the masked clips before them.

    Returns:
        bool [2 * (P + F), 2 * (P + F)], queries by keys, over the sequence [video_past, video_future,
        actions_past, actions_future]; True: visible.
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
    """The same rule among clean clips: bool [2Q, 2K], queries by keys, both as [video, actions]."""
    return (query_times[:, None] >= key_times[None, :]).repeat(2, 2)


def corrupt(tokens: Tensor, codebook_size: int, max_rate: float, generator: torch.Generator) -> Tensor:
    """Replaces a share of each sample's tokens, drawn from U(0, max_rate), by uniformly random tokens.

    Args:
        tokens: int [B, ...].
        codebook_size: V; the replacements lie in 0..V-1.
        max_rate: the largest share, 0..1.
        generator: source of all randomness, on the tokens' device.

    Returns:
        int [B, ...], a new tensor.
    """
    device = tokens.device
    rate_B = max_rate * torch.rand(len(tokens), generator=generator, device=device)
    chosen = torch.rand(tokens.shape, generator=generator, device=device) < rate_B.view(-1, *[1] * (tokens.ndim - 1))
    random_tokens = torch.randint(codebook_size, tokens.shape, generator=generator, device=device, dtype=tokens.dtype)
    return torch.where(chosen, random_tokens, tokens)


def draw_mask(shape: tuple[int, int, int, int, int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Draws which future tokens are hidden (MaskGIT, arXiv 2202.04200, section 3.2, by clip).

    For each clip r ~ U(0, 1); each of its tokens is hidden with probability cos(r * pi / 2), at least one.

    Args:
        shape: (B, T, L, H, W).
        generator: source of all randomness, on `device`.
        device: where the mask shall live.

    Returns:
        bool [B, T, L, H, W]; True: hidden.
    """
    batch, clips, *rest = shape
    rate = torch.cos(torch.rand(batch, clips, 1, generator=generator, device=device) * (math.pi / 2))
    uniform = torch.rand(batch, clips, math.prod(rest), generator=generator, device=device)
    mask = uniform < rate
    mask |= uniform == uniform.amin(dim=-1, keepdim=True)
    return mask.view(shape)
