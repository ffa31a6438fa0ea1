"""The scene model: predicts a clip's tokens from poses and joint angles, without a history."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import torch
from annotated_types import Ge, Gt, Le, Lt
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import conv2d, normalize, silu

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Depth, FSQLevels, Side, Width
from hwm_env.model.heads import CodebookHead
from hwm_env.scene.camera import CameraLink, KinematicCamera, LearnedCamera
from hwm_env.scene.limbs import Limbs
from hwm_env.scene.map import MapConfig, SceneMap
from hwm_env.types import ACTION_DIM, LATENTS_PER_CLIP

KEYFRAMES: Final = (0, 8, 16)
"""Frames of a clip at which the scene is rendered: the last frame of each latent."""
CLIPS_AT_ONCE: Final = 16
"""Most clips that one pass should render on a processor, to stay in its cache."""
CLIPS_AT_ONCE_ELSEWHERE: Final = 1024
"""The same on other devices, where one pass should not need more than about 8 GB (with 2 x 2 rays)."""
_PLACE_WAVES: Final = 5
_ANGLE_WAVES: Final = 3
_RAY_WAVES: Final = 4
"""Number of sines and cosines of places, yaws and ray directions, each with twice the previous frequency."""
_MIN_STD: Final = 1e-2
"""Smallest standard deviation for normalisation, for numbers that hardly vary (rad, m/s or rad/s)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneConfig(CheckedFields):
    """Shape of a `SceneModel`."""

    fsq_levels: FSQLevels = (8, 8, 8, 5, 5, 5)
    """Levels of each FSQ digit of a token."""
    grid_size: tuple[Side, Side] = (8, 8)
    """Rows and columns of the token grid (H, W)."""
    field_of_view_deg: Annotated[float, Gt(0), Lt(180)] = 90.0
    """Vertical field of view of the camera."""
    camera: tuple[CameraLink, ...] | None = None
    """Chain from the base to the camera; `None`: place and rotation are learned."""
    limbs: tuple[tuple[CameraLink, ...], ...] = ()
    """Chains from the base to the ends of the limbs that the camera sees; they require `camera`."""
    map: MapConfig = field(default_factory=MapConfig)
    """Shape of the map."""
    rays_per_side: Annotated[int, Ge(1), Le(64)] = 1
    """Square root of the number of rays per grid position (R), which are evenly spread over it."""
    width: Width = 384
    """Channels of the residual network (D), a multiple of `conv_groups`."""
    num_blocks: Annotated[Depth, Ge(1)] = 2
    """Residual blocks: an MLP, then a 3 x 3 convolution over the grid."""
    mlp_ratio: Annotated[int, Ge(1), Le(64)] = 4
    """Hidden channels of an MLP, in units of the width."""
    conv_groups: Width = 8
    """Groups of channels in the convolutions."""

    def check_together(self) -> None:
        """Raises InvalidInputError if fields do not fit each other, with their names."""
        if self.width % self.conv_groups:
            raise InvalidInputError(f"width must be a multiple of conv_groups {self.conv_groups}, got {self.width}")
        if self.limbs and self.camera is None:
            raise InvalidInputError("limbs need a known camera, got camera None; give the chain to the camera as well")


class SceneModel(nn.Module):
    """Predicts a clip's tokens from the poses of the base and the robot's numbers at the clip's keyframes.

    The map is rendered along the rays of each grid position. A small residual network on the grid maps the result,
    together with the rays' directions, the pose, the numbers and a learned vector per position, to the logits of all
    three latents. It models what stands still and the robot's own body, but no other moving objects.
    """

    number_mean: Tensor
    number_std: Tensor
    rays: Tensor
    low_m: Tensor
    high_m: Tensor
    frequencies: Tensor

    def __init__(self, config: SceneConfig) -> None:
        super().__init__()
        self.config = config
        self.map = SceneMap(config.map)
        self.camera: KinematicCamera | LearnedCamera = (
            LearnedCamera() if config.camera is None else KinematicCamera(config.camera)
        )
        self.limbs = Limbs(config.limbs, config.camera or ())
        rows, columns = config.grid_size
        self.register_buffer("number_mean", torch.zeros(ACTION_DIM))
        self.register_buffer("number_std", torch.ones(ACTION_DIM))
        # Constants that were made in each pass would be copied to a GPU each time.
        self.register_buffer("rays", _camera_rays(config), persistent=False)
        self.register_buffer("low_m", torch.tensor(config.map.low_m[:2]), persistent=False)
        self.register_buffer("high_m", torch.tensor(config.map.high_m[:2]), persistent=False)
        num_waves = max(_PLACE_WAVES, _ANGLE_WAVES, _RAY_WAVES)
        self.register_buffer("frequencies", 2.0 ** torch.arange(num_waves), persistent=False)
        ray_dim = config.map.ray_dim + 2 * 2 * _RAY_WAVES + self.limbs.num_features
        pose_dim = 2 * (2 * _PLACE_WAVES + _ANGLE_WAVES)
        num_rays = config.rays_per_side**2
        self.from_rays = nn.Linear(len(KEYFRAMES) * num_rays * ray_dim, config.width)
        self.from_moment = nn.Linear(len(KEYFRAMES) * (pose_dim + ACTION_DIM), config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(rows * columns, config.width))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_blocks))
        self.norm = nn.LayerNorm(config.width)
        self.head = CodebookHead(config.fsq_levels, config.width, LATENTS_PER_CLIP, rows)

    def set_statistics(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> None:
        """Sets the mean and standard deviation that normalise the 25 numbers."""
        for module in (self, self.camera):
            if not isinstance(module, KinematicCamera):
                module.number_mean.copy_(torch.as_tensor(mean))
                module.number_std.copy_(torch.as_tensor(std).clamp(min=_MIN_STD))

    def features(self, poses_BF: Tensor, numbers_BFA: Tensor, jitter: Tensor | None = None) -> Tensor:
        """Computes the features that the head predicts the tokens from.

        Args:
            poses_BF: poses of the base at the keyframes, float [B, 3, 3].
            numbers_BFA: the robot's numbers at the keyframes, float [B, 3, 25].
            jitter: see `SceneMap.forward`; float, broadcastable to [B, 3, S, R, N].

        Returns:
            float [B, S, D].
        """
        # In bfloat16, rotations would be off by a tenth of a degree.
        with torch.autocast(poses_BF.device.type, enabled=False):
            place, rotation = self.camera(numbers_BFA)
            origins, directions = self._room_rays(poses_BF, place, rotation)
            limbs = self.limbs(numbers_BFA, place, rotation, self.rays)
        origins_BFSR = origins[:, :, None, None].expand_as(directions)
        seen = self.map(origins_BFSR, directions, jitter)
        azimuth, elevation = torch.atan2(directions[..., 1], directions[..., 0]), directions[..., 2].clamp(-1, 1).asin()
        rays = torch.cat([seen, self._waves(torch.stack([azimuth, elevation], dim=-1), _RAY_WAVES), limbs], dim=-1)
        numbers = (numbers_BFA - self.number_mean) / self.number_std
        moment = torch.cat([self._pose_waves(poses_BF), numbers], dim=-1)
        x = self.from_rays(rearrange(rays, "b f s r d -> b s (f r d)"))
        x = x + self.from_moment(moment.flatten(1))[:, None] + self.positions
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed

    def forward(self, poses_BF: Tensor, numbers_BFA: Tensor, jitter: Tensor | None = None) -> Tensor:
        """Predicts digit logits of a clip's tokens, float [B, 3, H, W, n]; arguments as for `features`."""
        return self.logits(self.features(poses_BF, numbers_BFA, jitter))

    def logits(self, features_BSD: Tensor) -> Tensor:
        """Predicts digit logits of a clip's tokens from its features: [B, S, D] to [B, 3, H, W, n]."""
        logits: Tensor = self.head(features_BSD[:, None, None]).squeeze(1)
        return logits

    def _room_rays(self, poses_BF: Tensor, place: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the camera's place [B, F, 3] and the rays' directions [B, F, S, R, 3] in the room's frame."""
        cos, sin = poses_BF[..., 2].cos(), poses_BF[..., 2].sin()
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        yaw = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))
        base = torch.stack([poses_BF[..., 0], poses_BF[..., 1], zero], dim=-1)
        origins = base + (yaw @ place[..., None]).squeeze(-1)
        directions = torch.einsum("bfij,srj->bfsri", yaw @ rotation, self.rays)
        return origins, directions

    def _pose_waves(self, poses_BF: Tensor) -> Tensor:
        place = (poses_BF[..., :2] - self.low_m) / (self.high_m - self.low_m) * math.pi
        return torch.cat([self._waves(place, _PLACE_WAVES), self._waves(poses_BF[..., 2:], _ANGLE_WAVES)], dim=-1)

    def _waves(self, values: Tensor, count: int) -> Tensor:
        """Returns sines and cosines of 1, 2, 4, ... times the values: [..., d] to [..., 2 * count * d]."""
        scaled = values[..., None] * self.frequencies[:count]
        return torch.cat([scaled.sin(), scaled.cos()], dim=-1).flatten(-2)


class _Block(nn.Module):
    """An MLP at each position, then a grouped convolution over the grid, each on a residual branch."""

    diagonal: Tensor

    def __init__(self, config: SceneConfig) -> None:
        super().__init__()
        self.rows = config.grid_size[0]
        self.mlp_norm = nn.LayerNorm(config.width)
        self.first = nn.Linear(config.width, config.mlp_ratio * config.width)
        self.second = nn.Linear(config.mlp_ratio * config.width, config.width)
        self.conv_norm = nn.LayerNorm(config.width)
        self.conv = nn.Conv2d(config.width, config.width, 3, padding=1, groups=config.conv_groups)
        self.register_buffer("diagonal", torch.eye(config.conv_groups), persistent=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Maps [B, S, D] to [B, S, D]."""
        x_BSD = x_BSD + self.second(silu(self.first(self.mlp_norm(x_BSD))))
        on_grid = rearrange(self.conv_norm(x_BSD), "b (h w) d -> b d h w", h=self.rows)
        convolve = self.conv if x_BSD.device.type == "cpu" else self._convolve_densely
        mixed: Tensor = x_BSD + rearrange(convolve(on_grid), "b d h w -> b (h w) d")
        return mixed

    def _convolve_densely(self, x_BDHW: Tensor) -> Tensor:
        """Returns the result of the grouped convolution, computed with all weights between groups as zeros.

        Grouped convolutions are slow on many GPUs, in particular their gradients.
        """
        weight = rearrange(self.conv.weight, "(g o) i h w -> g o 1 i h w", g=self.conv.groups)
        weight = rearrange(weight * self.diagonal[:, None, :, None, None, None], "g o k i h w -> (g o) (k i) h w")
        return conv2d(x_BDHW, weight, self.conv.bias, padding=1)


def parts_of(poses_BF: Tensor, numbers_BFA: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Splits poses and numbers of clips into parts that are fast to render."""
    at_once = CLIPS_AT_ONCE if poses_BF.device.type == "cpu" else CLIPS_AT_ONCE_ELSEWHERE
    return list(zip(poses_BF.split(at_once), numbers_BFA.split(at_once), strict=True))


def at_keyframes(frames_BF: Tensor) -> Tensor:
    """Returns the values at clips' keyframes: [B, 17, ...] to [B, 3, ...]."""
    return torch.stack([frames_BF[:, frame] for frame in KEYFRAMES], dim=1)


def _camera_rays(config: SceneConfig) -> Tensor:
    """Returns unit vectors along the rays of each grid position, [S, R, 3].

    They are in the camera's frame: x ahead, y to the left, z up. Pixels are square.
    """
    rows, columns = config.grid_size
    side = config.rays_per_side
    focal = rows / 2 / math.tan(math.radians(config.field_of_view_deg) / 2)
    inside = (torch.arange(side) + 0.5) / side
    down = (torch.arange(rows)[:, None] + inside).flatten() - rows / 2
    across = (torch.arange(columns)[:, None] + inside).flatten() - columns / 2
    pixel_down, pixel_across = torch.meshgrid(down, across, indexing="ij")
    vectors = torch.stack([torch.full_like(pixel_down, focal), -pixel_across, -pixel_down], dim=-1)
    return rearrange(normalize(vectors, dim=-1), "(h i) (w j) d -> (h w) (i j) d", h=rows, w=columns)
