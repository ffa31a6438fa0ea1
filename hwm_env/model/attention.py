"""Spatial attention within a clip, and joint temporal attention over video and actions."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hwm_env.model.linear import ZeroLinear
from hwm_env.model.rope import Rotation, rotate

MOST_WRITTEN_OUT = 256
"""Positions up to which attention is written out for training on the CPU: a grid of 16 x 16."""
ELEMENTS_AT_ONCE = 2**20
"""Numbers of keys that temporal attention brings together at once: few enough to stay in a processor's cache."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention: q [N, heads, I, C], k and v [N, heads, J, C].

    On the CPU, training on small grids is faster written out than through the fused kernel, above all in bfloat16, in
    which its backward pass is slow. On large ones, all pairs of positions take too much memory.
    """
    if q.device.type != "cpu" or not q.requires_grad or q.shape[-2] > MOST_WRITTEN_OUT:
        return scaled_dot_product_attention(q, k, v)
    mixed: Tensor = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(dim=-1).to(v.dtype) @ v
    return mixed


class KeyValues(NamedTuple):
    """What temporal attention needs of earlier places in time (N of them), keys already rotated.

    The shapes are those of one layer; the history keeps those of all layers, with an axis for them before.
    """

    video_keys: Tensor
    """[B, S, heads, N, C]; with pooled video, S is 1."""
    video_values: Tensor
    action_keys: Tensor
    """[B, heads, N, C]: the same for every grid position, and kept once."""
    action_values: Tensor
    grid_keys: Tensor
    """[B, S, heads, N, C]: for the spatial attention of the place after; S is 0 without `spatial_lookback`."""
    grid_values: Tensor

    def split(self, size: int) -> "list[KeyValues]":
        """Parts of `size` places each."""
        return [KeyValues(*part) for part in zip(*(field.split(size, dim=-2) for field in self), strict=True)]

    def at_positions(self, start: int, stop: int) -> "KeyValues":
        """Those of some grid positions."""
        return self._replace(video_keys=self.video_keys[:, start:stop], video_values=self.video_values[:, start:stop])


def gather(queries: Tensor, timeline: Sequence[KeyValues], visible: Tensor | None) -> Tensor:
    """What queries [B, S, heads, Q, C] gather from the video of their own position and from the actions.

    Args:
        queries: rotated.
        timeline: keys and values, oldest first; M places in time together.
        visible: bool [at least Q, 2M], queries by keys as [video, actions]; None: all.

    Returns:
        [B, S, heads, Q, C].
    """
    keys, values, action_keys, action_values = (
        torch.cat(parts, dim=-2) if len(parts) > 1 else parts[0]
        for parts in zip(*(places[:4] for places in timeline), strict=True)
    )
    queries = queries * queries.shape[-1] ** -0.5
    scores = torch.cat(
        [queries @ keys.transpose(-1, -2), torch.einsum("bshqc,bhmc->bshqm", queries, action_keys)], dim=-1
    )
    if visible is not None:
        scores = scores.masked_fill(~visible[: queries.shape[-2]], -torch.inf)
    to_video, to_actions = scores.softmax(dim=-1).to(values.dtype).chunk(2, dim=-1)
    return to_video @ values + torch.einsum("bshqm,bhmc->bshqc", to_actions, action_values)


class Rotations(NamedTuple):
    """Rotary positions of everything that attention compares."""

    grid: Rotation
    video: Rotation
    """Of the places in time, for [B, S, heads, N, C]."""
    actions: Rotation
    """The same for [B, heads, N, C]."""


class Attention(nn.Module):
    """Projections that spatial and temporal attention have in common: QKV, and an output that starts from zero."""

    def __init__(self, width: int, num_heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.out = ZeroLinear(width, width)


class SpatialAttention(Attention):
    """Full attention over the grid positions of one place in time, 2D rotary positions."""

    def forward(self, video_BNSD: Tensor, before: Tensor | None, grid: Rotation) -> Tensor:
        """Mixes positions: [B, N, S, D] to [B, N, S, D].

        Args:
            video_BNSD: [B, N, S, D].
            before: keys and values of the place before each place, [B, N, 2, heads, S, C], see Lookback.
            grid: rotary positions.
        """
        q, k, v = rearrange(self.qkv(video_BNSD), "b n s (three h c) -> three b n h s c", three=3, h=self.num_heads)
        q, k = rotate(q, grid), rotate(k, grid)
        if before is not None:
            k, v = (torch.cat(pair, dim=-2) for pair in zip((k, v), before.unbind(2), strict=True))
        mixed = attend(*(x.flatten(0, 1) for x in (q, k, v)))
        merged: Tensor = self.out(rearrange(mixed, "(b n) h s c -> b n s (h c)", b=len(video_BNSD)))
        return merged


class Lookback(nn.Module):
    """Keys and values that a place's grid gives to the spatial attention of the place after it."""

    def __init__(self, width: int, num_heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kv = nn.Linear(width, 2 * width, bias=qkv_bias)

    def forward(self, video_BNSD: Tensor, grid: Rotation) -> tuple[Tensor, Tensor]:
        """[B, N, S, D] to keys, rotated, and values: [B, S, heads, N, C] each, as KeyValues keeps them."""
        k, v = rearrange(self.kv(video_BNSD), "b n s (two h c) -> two b n h s c", two=2, h=self.num_heads)
        return rearrange(rotate(k, grid), "b n h s c -> b s h n c"), rearrange(v, "b n h s c -> b s h n c")


def place_before(past: Sequence[KeyValues], own: tuple[Tensor, Tensor], before: Tensor) -> Tensor:
    """Keys and values of the grid before each of N places: [B, N, 2, heads, S, C].

    Args:
        past: keys and values of earlier places, oldest first.
        own: those of the N places, see Lookback.
        before: int [N], a place, counted over the last of `past`, if any, and the N.
    """
    keys, values = own
    if past:
        keys = torch.cat([past[-1].grid_keys[..., -1:, :], keys], dim=-2)
        values = torch.cat([past[-1].grid_values[..., -1:, :], values], dim=-2)
    return rearrange(torch.stack([keys[..., before, :], values[..., before, :]]), "two b s h n c -> b n two h s c")


class JointTemporalAttention(Attention):
    """Attention over time and all four streams at every grid position, with one shared QKV.

    Actions have no position: their queries, keys and values are the same at every one, and what they gather is
    averaged back over positions. So their keys are compared with all positions at once instead of being copied to
    each, as a fused kernel would need: at full size that halves the history's memory.
    """

    def forward(
        self,
        video_BNSD: Tensor,
        actions_BND: Tensor,
        rotations: Rotations,
        visible: Tensor | None,
        past: Sequence[KeyValues],
        *,
        actions_ask: bool,
    ) -> tuple[Tensor, Tensor | None, KeyValues]:
        """Mixes places in time and streams.

        Args:
            video_BNSD: [B, N, S, D].
            actions_BND: [B, N, D].
            rotations: rotary positions of the N places.
            visible: bool [2N, 2(M + N)], queries [video, actions] by keys [video, actions], each with the M earlier
                places first; None: all.
            past: keys and values of earlier places, oldest first, where they are not among the N.
            actions_ask: whether the actions gather something too, or are only seen.

        Returns:
            What to add to video [B, N, S, D] and, if they ask, to actions [B, N, D]; and the places' own keys and
            values.
        """
        num_places, num_positions = video_BNSD.shape[1:3]
        q, k, v = rearrange(self.qkv(video_BNSD), "b n s (three h c) -> three b s h n c", three=3, h=self.num_heads)
        action_q, action_k, action_v = rearrange(
            self.qkv(actions_BND), "b n (three h c) -> three b h n c", three=3, h=self.num_heads
        )
        no_grid = v[:, :0]
        own = KeyValues(rotate(k, rotations.video), v, rotate(action_k, rotations.actions), action_v, no_grid, no_grid)
        queries = rotate(q, rotations.video)
        if actions_ask:
            shared = rotate(action_q, rotations.actions).unsqueeze(1).expand(-1, num_positions, -1, -1, -1)
            queries = torch.cat([queries, shared], dim=-2)
        timeline = [*past, own]
        num_keys = sum(part.video_keys.shape[-2] for part in timeline)
        at_once = max(1, ELEMENTS_AT_ONCE // (len(video_BNSD) * num_keys * video_BNSD.shape[-1]))
        mixed = [
            gather(part, [earlier.at_positions(start, start + at_once) for earlier in timeline], visible)
            for start, part in zip(range(0, num_positions, at_once), queries.split(at_once, dim=1), strict=True)
        ]
        merged = rearrange(torch.cat(mixed, dim=1), "b s h q c -> b q s (h c)")
        video_update: Tensor = self.out(merged[:, :num_places])
        action_update: Tensor | None = self.out(merged[:, num_places:].mean(dim=2)) if actions_ask else None
        return video_update, action_update, own
