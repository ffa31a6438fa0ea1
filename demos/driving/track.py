"""The track of a world's robot: its poses over the past env steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwm_env.types import POSE_DIM, Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Poses after consecutive env steps."""

    poses: Float32Array
    """x (m), y (m) and yaw (rad) after each step, oldest first, [N, 3]; NaN where unknown."""
    std: Float32Array
    """Standard deviations of the newest pose, [3]."""

    @classmethod
    def of(cls, infos: Sequence[Mapping[str, Any]]) -> "Track":
        """Makes a track from the infos of an environment after each step, oldest first."""
        unknown = np.full(POSE_DIM, np.nan, np.float32)
        return cls(np.stack([info.get("pose", unknown) for info in infos]), infos[-1].get("pose_std", unknown))

    @property
    def is_known(self) -> bool:
        """Whether the newest pose is known."""
        return bool(np.isfinite(self.poses[-1]).all())

    def during(self, share: float) -> "Track":
        """Returns the track when a share (0..1) of its newest step is done, by interpolation."""
        if len(self.poses) < 2 or not np.isfinite(self.poses[-2:]).all():
            return self
        before, after = self.poses[-2:]
        way = after - before
        way[2] = (way[2] + np.pi) % (2 * np.pi) - np.pi
        return Track(np.concatenate([self.poses[:-1], (before + share * way)[None]]), self.std)
