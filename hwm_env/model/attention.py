"""Spatial attention within a clip, and joint temporal attention over video and actions."""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hwm_env.model.linear import ZeroLinear
from hwm_env.model.rope import rotate

Rotation = tuple[Tensor, Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention: q [N, heads, I, C], k and v [N, heads, J, C], visible bool [I, J].

    On the CPU, training on our short sequences (tens of clips or grid positions) is faster written out than through
    the fused kernel, above all in bfloat16, in which its backward pass is slow.
    """
    if q.device.type != "cpu" or not q.requires_grad:
        return scaled_dot_product_attention(q, k, v, attn_mask=visible)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if visible is not None:
        scores = scores + torch.zeros_like(visible, dtype=scores.dtype).masked_fill(~visible, -torch.inf)
    mixed: Tensor = scores.softmax(dim=-1).to(v.dtype) @ v
    return mixed


class KeyValues(NamedTuple):
    """Keys and values of past clips in one layer, as [video, actions]: each [B, S, heads, 2 * T_p, head_width]."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Projections that spatial and temporal attention have in common: QKV without bias, output starting from zero."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = ZeroLinear(width, width)


class SpatialAttention(Attention):
    """Full attention over the grid positions of one clip, 2D rotary positions."""

    def forward(self, video_BTSD: Tensor, rotation_S: Rotation) -> Tensor:
        """Mixes positions: [B, T, S, D] to [B, T, S, D]."""
        q, k, v = rearrange(
            self.qkv(video_BTSD), "b t s (three h d) -> three (b t) h s d", three=3, h=self.num_heads
        ).unbind(0)
        mixed = attend(rotate(q, rotation_S), rotate(k, rotation_S), v)
        merged: Tensor = self.out(rearrange(mixed, "(b t) h s d -> b t s (h d)", b=len(video_BTSD)))
        return merged


class JointTemporalAttention(Attention):
    """Attention over the clips of all four streams at every grid position, with one shared QKV.

    Actions have no position: their queries, keys and values are the same at every one, and what they
    gather is averaged back over positions.
    """

    def forward(
        self,
        video_BTSD: Tensor,
        actions_BTD: Tensor,
        rotation_T: Rotation,
        visible: Tensor | None,
        past: KeyValues | None,
    ) -> tuple[Tensor, Tensor, KeyValues]:
        """Mixes clips and streams.

        Args:
            video_BTSD: [B, T, S, D].
            actions_BTD: [B, T, D], one vector a clip.
            rotation_T: rotary positions of the T clip times.
            visible: bool [2T, 2T_p + 2T], queries [video, actions] by keys [past, video, actions]; None: all.
            past: keys and values of clips that came before, if they are not among the T.

        Returns:
            What to add to video [B, T, S, D] and to actions [B, T, D], and these clips' own keys and values.
        """
        num_clips, num_positions = video_BTSD.shape[1:3]
        video = rearrange(self.qkv(video_BTSD), "b t s (three h d) -> three b s h t d", three=3, h=self.num_heads)
        actions = rearrange(self.qkv(actions_BTD), "b t (three h d) -> three b 1 h t d", three=3, h=self.num_heads)
        q, k, v = torch.cat([video, actions.expand(-1, -1, num_positions, -1, -1, -1)], dim=-2).unbind(0)
        twice = (rotation_T[0].repeat(2, 1), rotation_T[1].repeat(2, 1))
        q, k = rotate(q, twice), rotate(k, twice)
        own = KeyValues(k, v)
        if past is not None:
            k, v = torch.cat([past.keys, k], dim=-2), torch.cat([past.values, v], dim=-2)
        mixed = attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), visible)
        mixed = rearrange(mixed, "(b s) h t d -> b t s (h d)", s=num_positions)
        return self.out(mixed[:, :num_clips]), self.out(mixed[:, num_clips:].mean(dim=2)), own
