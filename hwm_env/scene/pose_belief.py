"""The carried pose: where the base of each row is believed to be."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.types import POSE_DIM


class PoseBelief(NamedTuple):
    """Carried poses of B rows and their uncertainty; NaN if unknown."""

    poses: Tensor
    """float32 [B, 3]: x (m), y (m) and yaw (rad) of the base at the newest frame, in the room's frame."""
    covariances: Tensor
    """float32 [B, 3, 3]: covariances of these three numbers."""

    @property
    def known(self) -> Tensor:
        """Whether each pose is known, bool [B]."""
        return self.poses.isfinite().all(dim=1)

    def select(self, rows: Tensor) -> "PoseBelief":
        """Returns the belief of these rows, int [n]."""
        return PoseBelief(self.poses[rows], self.covariances[rows])

    def expand(self, n: int) -> "PoseBelief":
        """Returns the belief of n rows that share the memory of a single one."""
        return PoseBelief(self.poses.expand(n, -1), self.covariances.expand(n, -1, -1))

    @classmethod
    def join(cls, beliefs: "Sequence[PoseBelief]") -> "PoseBelief":
        """Joins the beliefs of several batches."""
        return cls(*(torch.cat(parts) for parts in zip(*beliefs, strict=True)))

    @classmethod
    def certain(cls, poses: Tensor) -> "PoseBelief":
        """Returns a belief without uncertainty in given poses [B, 3], NaN where unknown.

        Raises:
            InvalidInputError: the poses have another shape, or are infinite.
        """
        if poses.ndim != 2 or poses.shape[1] != POSE_DIM or poses.isinf().any():
            raise InvalidInputError(
                f"poses must be x (m), y (m), yaw (rad) of each row, float [B, 3], got {list(poses.shape)}: "
                f"{poses.tolist()}"
            )
        poses = poses.to(torch.float32, copy=True)
        return cls(poses, torch.zeros(len(poses), POSE_DIM, POSE_DIM, device=poses.device))
