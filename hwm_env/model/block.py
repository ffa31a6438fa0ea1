"""One transformer block: spatial attention, joint temporal attention and an MLP per stream.

Actions may scale and shift every norm on the video's way.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hwm_env.model.attention import (
    JointTemporalAttention,
    KeyValues,
    Lookback,
    Places,
    SpatialAttention,
    place_before,
)
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.linear import ZeroLinear

ScalesShifts = tuple[Tensor, ...]
"""Scale and shift of each norm on the video's way, each [B, N, 1, D]."""


def mlp(width: int, hidden: int) -> nn.Sequential:
    """Builds a two-layer MLP whose output starts at zero."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), ZeroLinear(hidden, width))


class ByTime(nn.Module):
    """A module for past and future: one for both if `shared`, else one each."""

    def __init__(self, make: Callable[[], nn.Module], *, shared: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(make() for _ in range(1 if shared else 2))

    def forward(self, x_BN: Tensor, num_past: int, *args: object) -> Tensor:
        """Applies the past's module to the first `num_past` places of [B, N, ...] and the future's to the rest.

        Tensors among `args` are [B, N, ...] too and are split in the same way.
        """
        if len(self.members) == 1:
            whole: Tensor = self.members[0](x_BN, *args)
            return whole
        parts = [
            member(x_BN[:, span], *(arg[:, span] if isinstance(arg, Tensor) else arg for arg in args))
            for member, span in zip(self.members, (slice(num_past), slice(num_past, None)), strict=True)
            if x_BN[:, span].shape[1]
        ]
        return torch.cat(parts, dim=1)


class Block(nn.Module):
    """A pre-norm residual block on video [B, N, S, D] and actions [B, N, D], past places in time first.

    With `adaln`, the action embedding of each place scales and shifts each norm of its video (adaptive layer norm,
    arXiv 2212.09748, without gates). It starts with no effect.
    """

    def __init__(self, config: MaskedHWMConfig, *, shared: bool, last: bool) -> None:
        super().__init__()
        width, heads, qkv_bias = config.width, config.num_heads, config.qkv_bias
        self.pooled = config.temporal_scope == "pooled"
        num_norms = 4 if config.spatial_mlp else 3
        self.modulation = ZeroLinear(width, 2 * num_norms * width) if config.action_injection == "adaln" else None
        self.spatial_norm = nn.LayerNorm(width)
        self.spatial = ByTime(lambda: SpatialAttention(width, heads, qkv_bias=qkv_bias), shared=shared)
        self.lookback = Lookback(width, heads, qkv_bias=qkv_bias) if config.spatial_lookback else None
        self.spatial_mlp: ByTime | None = None
        if config.spatial_mlp:
            self.spatial_mlp_norm = nn.LayerNorm(width)
            self.spatial_mlp = ByTime(lambda: mlp(width, config.mlp_width), shared=shared)
        self.temporal_norm = nn.LayerNorm(width)
        self.temporal = JointTemporalAttention(width, heads, qkv_bias=qkv_bias)
        self.streams = nn.Parameter(torch.zeros(4, width)) if config.temporal_stream_embedding else None
        self.mlp_norm = nn.LayerNorm(width)
        share_mlps = shared and config.share_mlps
        # Of what leaves the last block, only the future's video is read.
        self.video_mlp = ByTime(lambda: mlp(width, config.mlp_width), shared=share_mlps or last)
        self.action_mlp = None if last else ByTime(lambda: mlp(width, config.mlp_width), shared=share_mlps)

    def scales_shifts(self, condition_BND: Tensor) -> ScalesShifts | None:
        """Returns scales and shifts for the norms from embedded actions [B, N, D]; `None` without `adaln`."""
        if self.modulation is None:
            return None
        chunks: ScalesShifts = (
            self.modulation(condition_BND)
            .unsqueeze(2)
            .chunk(self.modulation.out_features // condition_BND.shape[-1], dim=-1)
        )
        return chunks

    def forward(
        self,
        video_BNSD: Tensor,
        actions_BND: Tensor,
        places: Places,
        *,
        scales_shifts: ScalesShifts | None,
        past: Sequence[KeyValues],
    ) -> tuple[Tensor, Tensor, KeyValues]:
        """Applies the block.

        Args:
            video_BNSD: video vectors [B, N, S, D].
            actions_BND: action vectors [B, N, D].
            places: the N places in time.
            scales_shifts: from `scales_shifts`.
            past: this layer's keys and values of earlier places, oldest first, if they are not among the N.

        Returns:
            Video, actions, and this layer's keys and values of the N places.
        """

        def modulated(x_BNSD: Tensor, index: int) -> Tensor:
            if scales_shifts is None:
                return x_BNSD
            return torch.addcmul(scales_shifts[2 * index + 1], x_BNSD, 1 + scales_shifts[2 * index])

        num_past, grid_rotation = places.num_past, places.rotations.grid
        normed = modulated(self.spatial_norm(video_BNSD), 0)
        grids, before = None, None
        if self.lookback is not None:
            grids = self.lookback(normed, grid_rotation)
            before = place_before(past, grids, places.before)
        video_BNSD = video_BNSD + self.spatial(normed, num_past, before, grid_rotation)
        if self.spatial_mlp is not None:
            video_BNSD = video_BNSD + self.spatial_mlp(modulated(self.spatial_mlp_norm(video_BNSD), 3), num_past)
        video, actions = modulated(self.temporal_norm(video_BNSD), 1), self.temporal_norm(actions_BND)
        if self.streams is not None:
            is_future = (torch.arange(actions.shape[1], device=actions.device) >= num_past).long()
            video, actions = video + self.streams[is_future].unsqueeze(1), actions + self.streams[2 + is_future]
        video_update, action_update, own = self.temporal(
            video.mean(dim=2, keepdim=True) if self.pooled else video,
            actions,
            places,
            past,
            update_actions=self.action_mlp is not None,
        )
        video_BNSD = video_BNSD + video_update
        video_BNSD = video_BNSD + self.video_mlp(modulated(self.mlp_norm(video_BNSD), 2), num_past)
        if self.action_mlp is not None:
            actions_BND = actions_BND + action_update
            actions_BND = actions_BND + self.action_mlp(self.mlp_norm(actions_BND), num_past)
        if grids is not None:
            own = own._replace(grid_keys=grids[0], grid_values=grids[1])
        return video_BNSD, actions_BND, own
