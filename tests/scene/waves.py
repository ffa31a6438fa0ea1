"""A room where every token is a known function of the pose, and histories recorded in it."""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from hwm_env.model.heads import CodebookHead
from hwm_env.scene.model import KEYFRAMES, SceneModel
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.scene.pose import integrate_wheels
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY

LEVELS = (4, 3)
GRID = (4, 5)
CLIPS = 4
OFF_10_DEG = math.radians(10)


class Waves(nn.Module):
    """Every logit is a plane wave over place and yaw, with its own direction and phase."""

    def __init__(self, contrast: float = 2.0) -> None:
        super().__init__()
        self.head = CodebookHead(LEVELS, 4, 3, GRID[0])
        generator = torch.Generator().manual_seed(0)
        outputs = 3 * math.prod(GRID) * sum(LEVELS)
        self.places = nn.Parameter(1.2 * torch.randn(outputs, 2, generator=generator), requires_grad=False)
        self.headings = nn.Parameter(torch.randn(outputs, 2, generator=generator), requires_grad=False)
        self.phases = nn.Parameter(2 * math.pi * torch.rand(outputs, generator=generator), requires_grad=False)
        self.contrast = contrast

    def forward(self, poses_BF: Tensor, numbers_BFA: Tensor) -> Tensor:
        assert poses_BF.shape[1] == numbers_BFA.shape[1] == len(KEYFRAMES)
        # A latent depends on its own keyframe.
        poses = poses_BF.repeat_interleave(math.prod(GRID) * sum(LEVELS), dim=1)
        yaw = torch.stack([poses[..., 2].cos(), poses[..., 2].sin()], dim=-1)
        waves = (poses[..., :2] * self.places).sum(-1) + (yaw * self.headings).sum(-1) + self.phases
        return self.contrast * waves.sin().unflatten(1, (3, *GRID, sum(LEVELS)))


class Histories(NamedTuple):
    """Recorded histories of bases that drove through the room."""

    tokens: Tensor
    actions: Tensor
    ends: Tensor


def as_scene(waves: nn.Module) -> SceneModel:
    return cast(SceneModel, waves)


def drive(
    waves: Waves,
    batch: int,
    *,
    seed: int = 0,
    clips: int = CLIPS,
    motion: Callable[[Tensor, Tensor], Tensor] = integrate_wheels,
    starts: Tensor | None = None,
) -> Histories:
    """Returns histories with curves, whose tokens are sampled from the model."""
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randn(batch, clips, 17, 25, generator=generator)
    actions[..., LINEAR_VELOCITY] = 0.3 + 0.3 * torch.rand(batch, clips, 1, generator=generator)
    actions[..., ANGULAR_VELOCITY] = 0.8 * torch.randn(batch, clips, 1, generator=generator)
    if starts is None:
        starts = torch.tensor([3.0, 3.0, math.pi]) * (2 * torch.rand(batch, 3, generator=generator) - 1)
    poses = motion(starts, actions.flatten(1, 2)).unflatten(1, (clips, 17))
    frames = list(KEYFRAMES)
    logits = waves(poses[:, :, frames].flatten(0, 1), actions[:, :, frames].flatten(0, 1))
    digits = [
        torch.multinomial(part.softmax(-1).flatten(0, -2), 1, generator=generator).view(part.shape[:-1])
        for part in waves.head.split(logits)
    ]
    tokens = waves.head.fsq.digits_to_codes(torch.stack(digits, dim=-1)).int()
    return Histories(tokens.unflatten(0, (batch, clips)), actions, poses[:, -1, -1])


def away(ends: Tensor, distance_m: float = 0.3, angle_rad: float = OFF_10_DEG, seed: int = 5) -> Tensor:
    """Returns poses at this distance in a random direction, turned by this angle to either side: [B, 1, 3]."""
    generator = torch.Generator().manual_seed(seed)
    bearing = 2 * math.pi * torch.rand(len(ends), generator=generator)
    side = torch.randint(2, (len(ends),), generator=generator) * 2.0 - 1
    change = torch.stack([distance_m * bearing.cos(), distance_m * bearing.sin(), angle_rad * side], dim=1)
    return (ends + change)[:, None]


def errors(found: Tensor, ends: Tensor) -> Tensor:
    """Returns errors in metres, metres and radians, the last wrapped: [B, 3]."""
    difference = found - ends
    return torch.cat([difference[:, :2], torch.atan2(difference[:, 2:].sin(), difference[:, 2:].cos())], dim=1)


def free_within(half_m: float) -> Odometry:
    """Returns the odometry of a square room without obstacles, 2 * half_m wide."""
    odometry = Odometry(OdometryConfig(hidden=8, low_m=(-half_m, -half_m), high_m=(half_m, half_m)))
    torch.nn.init.zeros_(odometry.third.weight)
    torch.nn.init.ones_(odometry.third.bias)
    return odometry
