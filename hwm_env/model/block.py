"""One block: spatial attention, joint temporal attention, an MLP a modality; every norm answers to the actions."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from hwm_env.model.attention import JointTemporalAttention, KeyValues, Rotation, SpatialAttention
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.linear import ZeroLinear


def mlp(width: int, hidden: int) -> nn.Sequential:
    """A two-layer MLP whose output starts from zero."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), ZeroLinear(hidden, width))


class ByTime(nn.Module):
    """The same kind of module for past and future clips: with weights of their own, or one for both."""

    def __init__(self, make: Callable[[], nn.Module], *, shared: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(make() for _ in range(1 if shared else 2))

    def forward(self, x_BT: Tensor, num_past: int, *args: object) -> Tensor:
        """Applies the past's module to the first `num_past` clips of [B, T, ...] and the future's to the rest."""
        if len(self.members) == 1:
            whole: Tensor = self.members[0](x_BT, *args)
            return whole
        spans: Iterator[Tensor] = iter((x_BT[:, :num_past], x_BT[:, num_past:]))
        parts = [member(x, *args) for member, x in zip(self.members, spans, strict=True) if x.shape[1]]
        return torch.cat(parts, dim=1)


class Block(nn.Module):
    """Pre-norm residual block on video [B, T, S, D] and actions [B, T, D] (past clips first).

    The clip's action embedding scales and shifts each norm of its video (adaptive layer norm,
    arXiv 2212.09748, without gates), starting from no effect.
    """

    def __init__(self, config: MaskedHWMConfig, *, shared: bool, last: bool) -> None:
        super().__init__()
        width = config.width
        self.modulation = ZeroLinear(width, 6 * width)
        self.spatial_norm = nn.LayerNorm(width)
        self.spatial = ByTime(lambda: SpatialAttention(width, config.num_heads), shared=shared)
        self.temporal_norm = nn.LayerNorm(width)
        self.temporal = JointTemporalAttention(width, config.num_heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.video_mlp = ByTime(lambda: mlp(width, config.mlp_width), shared=shared)
        # Nothing reads the actions that leave the last block.
        self.action_mlp = None if last else ByTime(lambda: mlp(width, config.mlp_width), shared=shared)

    def forward(
        self,
        video_BTSD: Tensor,
        actions_BTD: Tensor,
        condition_BTD: Tensor,
        num_past: int,
        rotation_S: Rotation,
        rotation_T: Rotation,
        visible: Tensor | None,
        past: KeyValues | None = None,
    ) -> tuple[Tensor, Tensor, KeyValues]:
        """Runs the block.

        Args:
            video_BTSD: video vectors [B, T, S, D].
            actions_BTD: action vectors [B, T, D].
            condition_BTD: embedding of each clip's actions [B, T, D], for the norms.
            num_past: how many of the T clips are past ones.
            rotation_S: rotary positions of the grid.
            rotation_T: rotary positions of the T clip times.
            visible: see JointTemporalAttention.
            past: keys and values of earlier clips, where the T clips do not include them.

        Returns:
            Video, actions, and this layer's keys and values of the T clips.
        """
        scales_shifts = self.modulation(condition_BTD).unsqueeze(2).chunk(6, dim=-1)

        def modulate(x_BTSD: Tensor, index: int) -> Tensor:
            return torch.addcmul(scales_shifts[2 * index + 1], x_BTSD, 1 + scales_shifts[2 * index])

        video_BTSD = video_BTSD + self.spatial(modulate(self.spatial_norm(video_BTSD), 0), num_past, rotation_S)
        video_update, action_update, own = self.temporal(
            modulate(self.temporal_norm(video_BTSD), 1), self.temporal_norm(actions_BTD), rotation_T, visible, past
        )
        video_BTSD, actions_BTD = video_BTSD + video_update, actions_BTD + action_update
        video_BTSD = video_BTSD + self.video_mlp(modulate(self.mlp_norm(video_BTSD), 2), num_past)
        if self.action_mlp is not None:
            actions_BTD = actions_BTD + self.action_mlp(self.mlp_norm(actions_BTD), num_past)
        return video_BTSD, actions_BTD, own
