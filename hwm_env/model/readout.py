"""Read-out: estimates where the robot's base, head and hands are from the tokens of one clip."""

from dataclasses import dataclass
from typing import Annotated, Final

import torch
from annotated_types import Ge, Lt
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, pad

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Depth, FSQLevels, Positive, Side, Width
from hwm_env.tokenizers.fsq import FSQ
from hwm_env.torch_state import plain_torch
from hwm_env.types import LATENTS_PER_CLIP

READ_DIM: Final = 15
"""Numbers of a read-out: base x, y, yaw; head, gaze, left hand, right hand with 3 each."""
RAW_DIM: Final = 16
"""Outputs of the network: yaw is (cos, sin), so that it has no jump at +-pi."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadoutConfig(CheckedFields):
    """Shape of a `Readout`."""

    fsq_levels: FSQLevels
    """Levels of each FSQ digit of a token."""
    grid_size: tuple[Side, Side]
    """Rows and columns of the token grid."""
    width: Width = 96
    """Channels of the residual blocks on the grid, a multiple of 8; those on half the grid have twice as many."""
    num_blocks: Annotated[Depth, Ge(1)] = 1
    """Residual blocks of two convolutions each, on the grid and again on half the grid."""
    squeezed: Width = 96
    """Channels per position of half the grid before all positions are joined."""
    hidden: Width = 256
    """Channels of the last hidden layer."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.2
    """Share of the inputs of each dense layer that are zeroed in training."""
    position_scale_m: Positive = 4.0
    """Metres per unit of the network's base position."""

    def check_together(self) -> None:
        """Raises InvalidInputError if the width does not fit the normalisation groups."""
        if self.width % _NORM_GROUPS:
            raise InvalidInputError(f"width must be a multiple of {_NORM_GROUPS}, got {self.width}")


_NORM_GROUPS: Final = 8


class _ResidualBlock(nn.Module):
    """Two convolutions on a residual branch, which starts with no effect."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_NORM_GROUPS, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, features_BDHW: Tensor) -> Tensor:
        """Maps [B, D, H, W] to [B, D, H, W]."""
        change: Tensor = self.second(gelu(self.first(self.norm(features_BDHW))))
        return features_BDHW + change


class Readout(nn.Module):
    """Estimates base pose, head, gaze and hands at the last frame of a clip, from the clip's tokens alone.

    Commanded actions are not an input, so that the read-out judges only what a world shows. Head, gaze and hands are
    regressed in the frame of the base, where they do not depend on its pose; `read` transforms them to the room.
    """

    def __init__(self, config: ReadoutConfig) -> None:
        super().__init__()
        self.config = config
        self.fsq = FSQ(config.fsq_levels)
        rows, columns = (-(-size // 2) for size in config.grid_size)
        self.convolutions = nn.Sequential(
            nn.Conv2d(LATENTS_PER_CLIP * len(config.fsq_levels), config.width, 3, padding=1),
            *(_ResidualBlock(config.width) for _ in range(config.num_blocks)),
            nn.GELU(),
            nn.Conv2d(config.width, 2 * config.width, 3, stride=2, padding=1),
            *(_ResidualBlock(2 * config.width) for _ in range(config.num_blocks)),
            nn.GELU(),
            nn.Conv2d(2 * config.width, config.squeezed, 1),
            nn.GELU(),
            nn.Flatten(),
        )
        self.dense = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(config.squeezed * rows * columns, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, RAW_DIM),
        )

    def forward(self, tokens_BLHW: Tensor) -> Tensor:
        """Computes the network's raw outputs.

        Args:
            tokens_BLHW: int [B, 3, H, W].

        Returns:
            [B, 16]: x and y of the base in units of `position_scale_m`, cos and sin of yaw; then head, gaze (a
            direction), left hand and right hand in the frame of the base (m).
        """
        values = self.fsq.digits_to_values(self.fsq.codes_to_digits(tokens_BLHW))
        outputs: Tensor = self.dense(self.convolutions(rearrange(values, "b l h w c -> b (l c) h w")))
        return outputs

    @plain_torch()
    def read(self, tokens_BLHW: Tensor) -> Tensor:
        """Estimates base, head, gaze and hands.

        Args:
            tokens_BLHW: int [B, 3, H, W].

        Returns:
            float32 [B, 15], in the frame of the room: base x (m), y (m), yaw (rad, -pi..pi); head camera (m); gaze, a
            unit vector; left hand (m); right hand (m).
        """
        return from_raw(self(tokens_BLHW).float(), self.config.position_scale_m)


def to_raw(quantities: Tensor, position_scale_m: Positive) -> Tensor:
    """Converts read-outs [B, 15] to the network's raw outputs [B, 16]."""
    xy, yaw = quantities[:, :2], quantities[:, 2]
    parts = quantities[:, 3:].unflatten(1, (4, 3)) - _base_of_parts(xy)
    return torch.cat(
        [xy / position_scale_m, torch.stack([yaw.cos(), yaw.sin()], dim=1), _turned(parts, -yaw).flatten(1)], dim=1
    )


def from_raw(raw: Tensor, position_scale_m: Positive) -> Tensor:
    """Converts the network's raw outputs [B, 16] to read-outs [B, 15]."""
    xy, yaw = raw[:, :2] * position_scale_m, torch.atan2(raw[:, 3], raw[:, 2])
    head, gaze, left, right = raw[:, 4:].unflatten(1, (4, 3)).unbind(1)
    parts = torch.stack([head, normalize(gaze, dim=1), left, right], dim=1)
    return torch.cat([xy, yaw[:, None], (_turned(parts, yaw) + _base_of_parts(xy)).flatten(1)], dim=1)


def _base_of_parts(xy: Tensor) -> Tensor:
    """Returns the origin of the base's frame for head, gaze (a direction: 0) and hands: [B, 4, 3]."""
    base = pad(xy, (0, 1))
    return torch.stack([base, torch.zeros_like(base), base, base], dim=1)


def _turned(vectors: Tensor, angle_rad: Tensor) -> Tensor:
    """Turns vectors [B, N, 3] to the left around the vertical by an angle [B]."""
    cos, sin = angle_rad.cos()[:, None], angle_rad.sin()[:, None]
    x, y, z = vectors.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)
