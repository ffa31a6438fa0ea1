"""Odometry: computes the pose of the base from its wheels and a learned floor plan of obstacles."""

import math
from dataclasses import dataclass
from typing import Annotated, Final

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.functional import silu

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Width
from hwm_env.scene.pose import integrate_wheels
from hwm_env.types import ACTION_DIM

SOFTNESS_M: Final = 0.002
"""Distance from the border of the free floor at which the logit is one."""
_SHARPNESS: Final = 5.0
"""Scale of the silu's input: the larger, the nearer to a relu, and the sharper the corners it can represent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OdometryConfig(CheckedFields):
    """Shape of an `Odometry`."""

    low_m: tuple[float, float] = (-4.5, -4.5)
    """Corner of the floor with the smallest x and y."""
    high_m: tuple[float, float] = (4.5, 4.5)
    """Opposite corner."""
    hidden: Width = 128
    """Units of each of the network's two hidden layers."""
    waves: Annotated[int, Ge(0), Le(32)] = 3
    """Number of sines and cosines of x and y, each with twice the previous frequency; the first span half a period."""

    def check_together(self) -> None:
        """Raises InvalidInputError if `low_m` does not lie below `high_m`."""
        if not all(low < high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise InvalidInputError(f"low_m must lie below high_m, got {self.low_m} and {self.high_m}")


class Odometry(nn.Module):
    """Integrates the pose of the base along the exact arcs of its wheels, unless an obstacle blocks it.

    When blocked, the wheels slip at the speed that they report, and the base only turns. Obstacles are learned as a
    signed distance (DeepSDF, arXiv 1901.05103) from the border of the free floor, where the base can stand.
    """

    low: Tensor
    high: Tensor
    frequencies: Tensor

    def __init__(self, config: OdometryConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("low", torch.tensor(config.low_m), persistent=False)
        self.register_buffer("high", torch.tensor(config.high_m), persistent=False)
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(config.waves), persistent=False)
        self.first = nn.Linear(2 + 4 * config.waves, config.hidden)
        self.second = nn.Linear(config.hidden, config.hidden)
        self.third = nn.Linear(config.hidden, 1)

    def clearance_m(self, xy_m: Tensor) -> Tensor:
        """Returns the distance of places from the border of the free floor; negative where the base cannot stand.

        Args:
            xy_m: places in the room's frame, float [..., 2].

        Returns:
            float [...]. A place outside the bounds has the clearance of the nearest place inside, and if that is not
            free, less by the distance to it.
        """
        inside_m = xy_m.clamp(self.low, self.high)
        place = (inside_m - self.low) / (self.high - self.low)
        waves = (place[..., None] * self.frequencies).flatten(-2)
        hidden = silu(_SHARPNESS * self.first(torch.cat([2 * place - 1, waves.sin(), waves.cos()], dim=-1)))
        clearance_m: Tensor = self.third(silu(_SHARPNESS * self.second(hidden))).squeeze(-1)
        return torch.where(clearance_m < 0, clearance_m - (xy_m - inside_m).norm(dim=-1), clearance_m)

    def free_logit(self, xy_m: Tensor) -> Tensor:
        """Returns the logit that the base can stand at places [..., 2] (m): float [...]."""
        return self.clearance_m(xy_m) / SOFTNESS_M

    @torch.no_grad()
    def forward(self, pose: Tensor, numbers_BFA: Tensor) -> Tensor:
        """Returns the pose of the base at each frame.

        In a frame whose arc would end at a place that is not free, the base stays where it is and only turns. If the
        base is already at such a place, by an error of the map or of the pose, it may move to places of larger
        clearance.

        Args:
            pose: pose before the first frame, float [B, 3].
            numbers_BFA: the 25 numbers of F frames, float [B, F, 25].

        Returns:
            float [B, F, 3]: the pose at each frame, yaw not wrapped. Rows do not depend on each other.

        Raises:
            InvalidInputError: a shape does not fit.
        """
        if pose.ndim != 2 or pose.shape[1] != 3:
            raise InvalidInputError(f"poses must be [B, 3], got {list(pose.shape)}")
        if numbers_BFA.ndim != 3 or numbers_BFA.shape[::2] != (len(pose), ACTION_DIM):
            raise InvalidInputError(
                f"numbers must be [{len(pose)}, F, {ACTION_DIM}] for {len(pose)} poses, got {list(numbers_BFA.shape)}"
            )
        poses = integrate_wheels(pose, numbers_BFA)
        blocked = (self.free_logit(poses[..., :2]) < 0).any(dim=1)
        if torch.compiler.is_exporting() or blocked.any():
            wheels_m = poses[..., :2]
            places_m = torch.where(blocked[:, None, None], self._walk(pose[:, :2], wheels_m), wheels_m)
            poses = torch.cat([places_m, poses[..., 2:]], dim=-1)
        return poses

    def _walk(self, start_m: Tensor, wheels_m: Tensor) -> Tensor:
        """Moves bases frame by frame past obstacles.

        Args:
            start_m: places before the first frame, float [B, 2].
            wheels_m: places of the bases without obstacles, float [B, F, 2].

        Returns:
            Places of the bases, float [B, F, 2].
        """
        # Blocked or not, yaws follow the wheels, so the steps do too.
        steps_m = wheels_m.diff(dim=1, prepend=start_m[:, None])
        at_m, logit = start_m, self.free_logit(start_m)
        places_m = []
        for step_m in steps_m.unbind(1):
            next_m = at_m + step_m
            next_logit = self.free_logit(next_m)
            moves = (next_logit >= 0) | (next_logit > logit)
            at_m, logit = torch.where(moves[:, None], next_m, at_m), torch.where(moves, next_logit, logit)
            places_m.append(at_m)
        return torch.stack(places_m, dim=1)
