"""The map: a room as learned feature planes, rendered along rays."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.functional import grid_sample, silu, softplus

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Positive, Width

PLANES = ((0, 1), (0, 2), (1, 2))
"""Axes of the room that the planes span: the floor plan and two elevations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MapConfig(CheckedFields):
    """Shape of a `SceneMap`."""

    low_m: tuple[float, float, float] = (-4.5, -4.5, 0.0)
    """Corner of the room with the smallest x, y and z."""
    high_m: tuple[float, float, float] = (4.5, 4.5, 3.0)
    """Opposite corner; places outside are rendered like the border."""
    cell_m: Positive = 0.125
    """Size of a plane's cell along x and y."""
    cell_height_m: Positive = 0.09375
    """Height of a plane's cell along z."""
    channels: Width = 16
    """Features per cell of a plane (C)."""
    hidden: Width = 64
    """Channels of the network's hidden layer."""
    features: Width = 32
    """Features per ray."""
    samples: Annotated[int, Ge(1), Le(2**10)] = 12
    """Samples per ray (N)."""
    near_m: Positive = 0.35
    """Start of the first sample's interval."""
    far_m: Positive = 10.0
    """End of the last sample's interval; intervals grow geometrically."""

    def check_together(self) -> None:
        """Raises InvalidInputError if fields do not fit each other, with their names."""
        if not all(low < high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise InvalidInputError(f"low_m must lie below high_m, got {self.low_m} and {self.high_m}")
        if self.far_m <= self.near_m:
            raise InvalidInputError(f"far_m must be above near_m {self.near_m}, got {self.far_m}")

    @property
    def resolution(self) -> tuple[int, int, int]:
        """Number of cells along x, y and z."""
        cells = (self.cell_m, self.cell_m, self.cell_height_m)
        x, y, z = (
            max(2, round((high - low) / cell)) for low, high, cell in zip(self.low_m, self.high_m, cells, strict=True)
        )
        return x, y, z

    @property
    def ray_dim(self) -> int:
        """Size of a rendered ray: its features, the expected log distance and the transmittance."""
        return self.features + 2


class SceneMap(nn.Module):
    """A room as three feature planes (EG3D, arXiv 2112.07945; K-Planes, 2301.10241), rendered as in NeRF (2003.08934).

    Rays yield features instead of colours, because they are decoded to tokens, not to pixels. On CUDA, the planes'
    gradients are sums in an order that varies, so that two trainings are not equal to the bit.
    """

    low_m: Tensor
    high_m: Tensor
    log_edges: Tensor

    def __init__(self, config: MapConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("low_m", torch.tensor(config.low_m), persistent=False)
        self.register_buffer("high_m", torch.tensor(config.high_m), persistent=False)
        log_edges = torch.linspace(math.log(config.near_m), math.log(config.far_m), config.samples + 1)
        self.register_buffer("log_edges", log_edges, persistent=False)
        sizes = config.resolution
        self.planes = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn(1, config.channels, sizes[second], sizes[first])) for first, second in PLANES
        )
        self.first = nn.Linear(len(PLANES) * config.channels, config.hidden)
        self.second = nn.Linear(config.hidden, 1 + config.features)

    def forward(self, origins_m: Tensor, directions: Tensor, jitter: Tensor | None = None) -> Tensor:
        """Renders rays.

        Args:
            origins_m: origins of the rays in the room's frame, float [..., 3].
            directions: unit vectors, float [..., 3].
            jitter: position of each sample in its interval, float [..., N] in [0, 1); `None`: the middle.

        Returns:
            float [..., ray_dim]: features, weighted by the light that each sample absorbs; the expected log distance
            (m); and the transmittance, the share of light that nothing absorbs.
        """
        low, high = self.log_edges[:-1], self.log_edges[1:]
        distances_m = (low + (0.5 if jitter is None else jitter) * (high - low)).exp()
        distances_m = distances_m.expand(*directions.shape[:-1], self.config.samples)
        points_m = origins_m[..., None, :] + distances_m[..., None] * directions[..., None, :]
        outputs = self.query(points_m)
        density, features = softplus(outputs[..., 0].float()), outputs[..., 1:]
        passed = (-density * (high.exp() - low.exp())).cumsum(dim=-1).exp()
        before = torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1]], dim=-1)
        weights, left = before - passed, passed[..., -1:]
        seen = _weighted_sum(weights, features)
        log_distance = (weights * distances_m.log()).sum(-1, keepdim=True) + left * math.log(self.config.far_m)
        return torch.cat([seen, log_distance, left], dim=-1)

    def query(self, points_m: Tensor) -> Tensor:
        """Returns raw density and features at points [..., 3] in the room: float [..., 1 + features]."""
        scaled = ((points_m - self.low_m) / (self.high_m - self.low_m) * 2 - 1).reshape(1, -1, 1, 3)
        along = scaled.split(1, dim=-1)
        sampled = [
            grid_sample(
                plane, torch.cat([along[axis] for axis in axes], -1), padding_mode="border", align_corners=False
            )
            for plane, axes in zip(self.planes, PLANES, strict=True)
        ]
        features = torch.cat(sampled, dim=1).squeeze(-1).squeeze(0).t()
        outputs: Tensor = self.second(silu(self.first(features)))
        return outputs.reshape(*points_m.shape[:-1], -1)

    def contains(self, poses: Tensor) -> Tensor:
        """Returns whether poses [..., 3] are within the map's bounds along x and y: bool [...]."""
        inside = (poses[..., :2] >= self.low_m[:2]) & (poses[..., :2] <= self.high_m[:2])
        return inside.all(dim=-1)


def _weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Returns the sums [..., D] of values [..., N, D] with weights [..., N], at least in float32 off the CPU."""
    if weights.device.type == "cpu":
        return (weights[..., None, :] @ values.float()).squeeze(-2)
    # cuBLAS is not made for hundreds of thousands of tiny products.
    return (weights[..., None] * values).sum(dim=-2)
