"""What a world believes about where its base is."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.types import POSE_DIM


class PoseBelief(NamedTuple):
    """Poses of B worlds and how uncertain they are. NaN where the place is not known."""

    poses: Tensor
    """Of the base at the newest frame, in the room's frame: x (m), y (m), yaw (rad), float32 [B, 3]."""
    covariances: Tensor
    """Of the same three numbers, float32 [B, 3, 3]."""

    @property
    def known(self) -> Tensor:
        """Whether a world knows where it is, bool [B]."""
        return self.poses.isfinite().all(dim=1)

    def select(self, worlds: Tensor) -> "PoseBelief":
        """Returns the belief of these worlds, int [n]."""
        return PoseBelief(self.poses[worlds], self.covariances[worlds])

    def expand(self, n: int) -> "PoseBelief":
        """Returns the belief of n worlds that share a single world's."""
        return PoseBelief(self.poses.expand(n, -1), self.covariances.expand(n, -1, -1))

    @classmethod
    def join(cls, beliefs: "Sequence[PoseBelief]") -> "PoseBelief":
        """Returns one belief of several batches."""
        return cls(*(torch.cat(parts) for parts in zip(*beliefs, strict=True)))

    @classmethod
    def certain(cls, poses: Tensor) -> "PoseBelief":
        """Returns the belief of worlds that were told where they are; poses [B, 3], NaN for those that were not.

        Raises:
            InvalidInputError: the poses are of another shape, or infinite.
        """
        if poses.ndim != 2 or poses.shape[1] != POSE_DIM or poses.isinf().any():
            raise InvalidInputError(
                f"poses must be x (m), y (m), yaw (rad) of each world, float [B, 3], got {list(poses.shape)}: "
                f"{poses.tolist()}"
            )
        poses = poses.to(torch.float32, copy=True)
        return cls(poses, torch.zeros(len(poses), POSE_DIM, POSE_DIM, device=poses.device))
