"""Odometry: the pose of the base from its wheels, and a learned floor plan that says where they can only slip."""

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
"""Metres from the border of the free floor at which the logit is one."""
_SHARPNESS: Final = 5.0
"""The network's silu is scaled along its input: the nearer to a relu, the sharper a corner it can draw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OdometryConfig(CheckedFields):
    """Shape of an Odometry."""

    low_m: tuple[float, float] = (-4.5, -4.5)
    """The floor's corner with the smallest x and y."""
    high_m: tuple[float, float] = (4.5, 4.5)
    """The corner opposite."""
    hidden: Width = 128
    """Units of each of the network's two hidden layers."""
    waves: Annotated[int, Ge(0), Le(32)] = 3
    """Sines and cosines of x and y, each of twice the frequency of the one before; the first span half a period."""

    def check_together(self) -> None:
        """Raises InvalidInputError where the corners lie on the wrong sides of each other."""
        if not all(low < high for low, high in zip(self.low_m, self.high_m, strict=True)):
            raise InvalidInputError(f"low_m must lie below high_m, got {self.low_m} and {self.high_m}")


class Odometry(nn.Module):
    """Carries the pose of the base along: the exact arcs of its wheels, except where an obstacle blocks it.

    The wheels slip there at the speed that they report, and the base only turns. What blocks is learned as a signed
    distance (DeepSDF, arXiv 1901.05103): how far a place is from the border of the floor where the base can stand.
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
        """Returns how far places are from the border of the free floor; below 0 where the base cannot stand.

        Args:
            xy_m: in the room's frame, float [..., 2].

        Returns:
            float [...]. A place beyond the config's bounds is judged like the nearest one within, and if that one is
            not free, it is that much less free.
        """
        inside_m = xy_m.clamp(self.low, self.high)
        place = (inside_m - self.low) / (self.high - self.low)
        waves = (place[..., None] * self.frequencies).flatten(-2)
        hidden = silu(_SHARPNESS * self.first(torch.cat([2 * place - 1, waves.sin(), waves.cos()], dim=-1)))
        clearance_m: Tensor = self.third(silu(_SHARPNESS * self.second(hidden))).squeeze(-1)
        return torch.where(clearance_m < 0, clearance_m - (xy_m - inside_m).norm(dim=-1), clearance_m)

    def free_logit(self, xy_m: Tensor) -> Tensor:
        """Returns the logit of "the base can stand here" of places [..., 2] (m): float [...]."""
        return self.clearance_m(xy_m) / SOFTNESS_M

    @torch.no_grad()
    def forward(self, pose: Tensor, numbers_BFA: Tensor) -> Tensor:
        """Returns where the base is at each frame.

        In a frame whose arc would end in a place that is not free, the base stays where it is and only turns. A base
        that stands in such a place already, by an error of the map or of the pose, may leave it: towards places that
        are more free than its own.

        Args:
            pose: before the first frame, float [B, 3].
            numbers_BFA: the 25 numbers of F frames, float [B, F, 25].

        Returns:
            float [B, F, 3]: the pose at each frame, yaw not wrapped. A row does not depend on the others.

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
        if blocked.any():
            poses[blocked, :, :2] = self._walk(pose[blocked, :2], poses[blocked, :, :2])
        return poses

    def _walk(self, start_m: Tensor, wheels_m: Tensor) -> Tensor:
        """Walks frame by frame.

        Args:
            start_m: places before the first frame, float [B, 2].
            wheels_m: where the wheels would have brought the bases, float [B, F, 2].

        Returns:
            Where the bases are, float [B, F, 2].
        """
        # Whatever is blocked, the yaws are those of the wheels, hence the steps as well.
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
