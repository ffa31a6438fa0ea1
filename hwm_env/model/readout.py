"""Read-out: recovers where the robot is from the tokens of one clip."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from hwm_env.tokenizers.fsq import FSQ
from hwm_env.types import LATENTS_PER_CLIP


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadoutConfig:
    """Shape of a PoseReadout."""

    fsq_levels: tuple[int, ...]
    """Levels of each FSQ digit of a token."""
    grid_size: tuple[int, int]
    """Rows and columns of the token grid."""
    width: int = 96
    """Channels of the convolutions."""
    hidden: int = 256
    """Channels of the last hidden layer."""
    position_scale_m: float = 4.0
    """Metres that one unit of the network's position stands for."""


class PoseReadout(nn.Module):
    """Base pose (x, y, yaw) in the room at the last frame of a clip, from the clip's tokens alone.

    Position is regressed, the heading as a direction (cos, sin), so that it has no jump at +-pi.
    """

    def __init__(self, config: ReadoutConfig) -> None:
        super().__init__()
        self.config = config
        self.fsq = FSQ(config.fsq_levels)
        rows, columns = config.grid_size
        self.convolutions = nn.Sequential(
            nn.Conv2d(LATENTS_PER_CLIP * len(config.fsq_levels), config.width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(config.width, config.width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(config.width, config.width // 2, 3, padding=1),
            nn.GELU(),
        )
        self.dense = nn.Sequential(
            nn.Linear(config.width // 2 * rows * columns, config.hidden), nn.GELU(), nn.Linear(config.hidden, 4)
        )

    def forward(self, tokens_BLHW: Tensor) -> Tensor:
        """Tokens int [B, 3, H, W] to raw outputs [B, 4]: x and y in `position_scale_m`, cos and sin of yaw."""
        values = self.fsq.digits_to_values(self.fsq.codes_to_digits(tokens_BLHW))
        features = self.convolutions(rearrange(values, "b l h w c -> b (l c) h w"))
        outputs: Tensor = self.dense(features.flatten(1))
        return outputs

    @torch.no_grad()
    def pose(self, tokens_BLHW: Tensor) -> Tensor:
        """Tokens int [B, 3, H, W] to float32 [B, 3]: x (m), y (m), yaw (rad, -pi..pi)."""
        outputs = self(tokens_BLHW).float()
        yaw = torch.atan2(outputs[:, 3], outputs[:, 2])
        return torch.cat([outputs[:, :2] * self.config.position_scale_m, yaw[:, None]], dim=1)
