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
"""Most positions for which attention is written out when training on the CPU: a grid of 16 x 16."""
ELEMENTS_AT_ONCE = 2**20
"""Most key elements that temporal attention gathers at once, so that they stay in a processor's cache."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Returns scaled dot-product attention of q [N, heads, I, C] over k and v [N, heads, J, C].

    When training on the CPU, small grids are faster written out than with the fused kernel, above all in bfloat16,
    where the kernel's backward pass is slow. On large grids, all pairs of positions would take too much memory.
    """
    if q.device.type != "cpu" or not q.requires_grad or q.shape[-2] > MOST_WRITTEN_OUT:
        return scaled_dot_product_attention(q, k, v)
    mixed: Tensor = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(dim=-1).to(v.dtype) @ v
    return mixed


class KeyValues(NamedTuple):
    """Keys and values of N places in time, which later places attend to. Keys are already rotated.

    The shapes are those of one layer. An `EncodedHistory` keeps all layers, with an axis for them in front.
    """

    video_keys: Tensor
    """[B, S, heads, N, C]; with pooled video, S is 1."""
    video_values: Tensor
    action_keys: Tensor
    """[B, heads, N, C]: the same for every grid position, so stored once."""
    action_values: Tensor
    grid_keys: Tensor
    """[B, S, heads, N, C]: for the spatial attention of the next place; S is 0 without `spatial_lookback`."""
    grid_values: Tensor

    def split(self, size: int) -> "list[KeyValues]":
        """Returns parts of `size` places each."""
        return [KeyValues(*part) for part in zip(*(field.split(size, dim=-2) for field in self), strict=True)]

    def at_positions(self, start: int, stop: int) -> "KeyValues":
        """Returns the keys and values of some grid positions, the actions' unchanged."""
        return self._replace(video_keys=self.video_keys[:, start:stop], video_values=self.video_values[:, start:stop])


def gather(queries: Tensor, timeline: Sequence[KeyValues], visible: Tensor | None) -> Tensor:
    """Returns what queries gather from the video at their own grid position and from the actions.

    Args:
        queries: rotated queries [B, S, heads, Q, C].
        timeline: keys and values, oldest first; M places in time in total.
        visible: bool [at least Q, 2M], queries by keys as [video, actions]; `None`: all are visible.

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
    """Rotary positions of grid positions and of places in time."""

    grid: Rotation
    video: Rotation
    """Of the places in time, for [B, S, heads, N, C]."""
    actions: Rotation
    """Of the places in time, for [B, heads, N, C]."""


class Places(NamedTuple):
    """The N places in time that a pass computes, past ones first, as every block needs them."""

    num_past: int
    """How many of the places are past."""
    rotations: Rotations
    visible: Tensor | None
    """bool [2N, 2(M + N)], queries [video, actions] by keys [video, actions], each with the M earlier places first;
    `None`: all are visible."""
    before: Tensor
    """int [N]: the place before each place, counted over the last earlier place, if any, and the N."""


class Attention(nn.Module):
    """Base of spatial and temporal attention: a QKV projection, and an output projection that starts at zero."""

    def __init__(self, width: int, num_heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.out = ZeroLinear(width, width)


class SpatialAttention(Attention):
    """Full attention over the grid positions of one place in time, with 2D rotary positions."""

    def forward(self, video_BNSD: Tensor, before: Tensor | None, grid: Rotation) -> Tensor:
        """Mixes grid positions: [B, N, S, D] to [B, N, S, D].

        Args:
            video_BNSD: video vectors [B, N, S, D].
            before: keys and values of the place before each place, [B, N, 2, heads, S, C], see `place_before`.
            grid: rotary positions of the grid.
        """
        qkv = rearrange(self.qkv(video_BNSD), "b n s (three h c) -> three b n h s c", three=3, h=self.num_heads)
        (q, k), v = rotate(qkv[:2], grid), qkv[2]
        if before is not None:
            k, v = (torch.cat(pair, dim=-2) for pair in zip((k, v), before.unbind(2), strict=True))
        mixed = attend(*(x.flatten(0, 1) for x in (q, k, v)))
        merged: Tensor = self.out(rearrange(mixed, "(b n) h s c -> b n s (h c)", b=len(video_BNSD)))
        return merged


class Lookback(nn.Module):
    """Projects a place's grid to keys and values for the spatial attention of the next place."""

    def __init__(self, width: int, num_heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kv = nn.Linear(width, 2 * width, bias=qkv_bias)

    def forward(self, video_BNSD: Tensor, grid: Rotation) -> tuple[Tensor, Tensor]:
        """Returns rotated keys and values of [B, N, S, D]: [B, S, heads, N, C] each, as in `KeyValues`."""
        k, v = rearrange(self.kv(video_BNSD), "b n s (two h c) -> two b n h s c", two=2, h=self.num_heads)
        return rearrange(rotate(k, grid), "b n h s c -> b s h n c"), rearrange(v, "b n h s c -> b s h n c")


def place_before(past: Sequence[KeyValues], own: tuple[Tensor, Tensor], before: Tensor) -> Tensor:
    """Returns keys and values of the grid before each of N places: [B, N, 2, heads, S, C].

    Args:
        past: keys and values of earlier places, oldest first.
        own: keys and values of the N places, from `Lookback`.
        before: see `Places`.
    """
    keys, values = own
    if past:
        keys = torch.cat([past[-1].grid_keys[..., -1:, :], keys], dim=-2)
        values = torch.cat([past[-1].grid_values[..., -1:, :], values], dim=-2)
    return rearrange(torch.stack([keys[..., before, :], values[..., before, :]]), "two b s h n c -> b n two h s c")


class JointTemporalAttention(Attention):
    """Attention over time and all four streams at every grid position, with one shared QKV projection.

    Actions have no grid position: their queries, keys and values are the same at every position, and what they gather
    is averaged over positions. Their keys are compared with all positions at once, not copied to each as a fused
    kernel would need: at full size, that halves the history's memory.
    """

    def forward(
        self,
        video_BNSD: Tensor,
        actions_BND: Tensor,
        places: Places,
        past: Sequence[KeyValues],
        *,
        update_actions: bool,
    ) -> tuple[Tensor, Tensor | None, KeyValues]:
        """Mixes places in time and streams.

        Args:
            video_BNSD: video vectors [B, N, S, D].
            actions_BND: action vectors [B, N, D].
            places: the N places in time.
            past: keys and values of earlier places, oldest first, if they are not among the N.
            update_actions: whether actions also gather, or are only attended to.

        Returns:
            What to add to video [B, N, S, D]; what to add to actions [B, N, D], `None` without `update_actions`; and
            the places' own keys and values.
        """
        rotations = places.rotations
        num_places, num_positions = video_BNSD.shape[1:3]
        qkv = rearrange(self.qkv(video_BNSD), "b n s (three h c) -> three b s h n c", three=3, h=self.num_heads)
        (queries, k), v = rotate(qkv[:2], rotations.video), qkv[2]
        action_qkv = rearrange(self.qkv(actions_BND), "b n (three h c) -> three b h n c", three=3, h=self.num_heads)
        (action_q, action_k), action_v = rotate(action_qkv[:2], rotations.actions), action_qkv[2]
        no_grid = v[:, :0]
        own = KeyValues(k, v, action_k, action_v, no_grid, no_grid)
        if update_actions:
            shared = action_q.unsqueeze(1).expand(-1, num_positions, -1, -1, -1)
            queries = torch.cat([queries, shared], dim=-2)
        timeline = [*past, own]
        num_keys = sum(part.video_keys.shape[-2] for part in timeline)
        at_once = max(1, ELEMENTS_AT_ONCE // (len(video_BNSD) * num_keys * video_BNSD.shape[-1]))
        if video_BNSD.device.type != "cpu":
            at_once = num_positions
        mixed = [
            gather(part, [earlier.at_positions(start, start + at_once) for earlier in timeline], places.visible)
            for start, part in zip(range(0, num_positions, at_once), queries.split(at_once, dim=1), strict=True)
        ]
        merged = rearrange(torch.cat(mixed, dim=1), "b s h q c -> b q s (h c)")
        video_update: Tensor = self.out(merged[:, :num_places])
        action_update: Tensor | None = self.out(merged[:, num_places:].mean(dim=2)) if update_actions else None
        return video_update, action_update, own
