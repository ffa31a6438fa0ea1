"""Where the base of a world's robot has been, as far as the world knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwm_env.types import POSE_DIM, Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Poses of consecutive steps."""

    poses: Float32Array
    """x (m), y (m), yaw (rad) after each step, oldest first, [N, 3]; NaN where the place is not known."""
    std: Float32Array
    """Standard deviations of the newest, [3]."""

    @classmethod
    def of(cls, infos: Sequence[Mapping[str, Any]]) -> "Track":
        """Reads it out of what an env says after each step, oldest first."""
        unknown = np.full(POSE_DIM, np.nan, np.float32)
        return cls(np.stack([info.get("pose", unknown) for info in infos]), infos[-1].get("pose_std", unknown))

    @property
    def is_known(self) -> bool:
        """Whether the newest pose is."""
        return bool(np.isfinite(self.poses[-1]).all())

    def during(self, share: float) -> "Track":
        """The track while its newest step is shown: a share (0..1) of the way from the pose before."""
        if len(self.poses) < 2 or not np.isfinite(self.poses[-2:]).all():
            return self
        before, after = self.poses[-2:]
        way = after - before
        way[2] = (way[2] + np.pi) % (2 * np.pi) - np.pi
        return Track(np.concatenate([self.poses[:-1], (before + share * way)[None]]), self.std)
