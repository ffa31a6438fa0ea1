"""Paths of the base through recorded histories, built from the pose at their end and the wheels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hwm_env.scene.pose import compose, integrate_wheels, relative
from hwm_env.types import FRAMES_PER_CLIP


class MotionModel(Protocol):
    """Moves the base by its wheels, for example an `Odometry`."""

    def __call__(self, pose: Tensor, numbers_BFA: Tensor, /) -> Tensor:
        """Returns the poses [B, F, 3] at F frames after a pose [B, 3]."""
        ...


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths of the base in B histories of T clips."""

    actions: Tensor
    """float [B, T, 17, 25]."""
    starts: Tensor
    """float [B, 3]: poses before the first frame."""
    poses: Tensor
    """float [B, T * 17, 3]: poses at all frames, yaw not wrapped."""

    @property
    def ends(self) -> Tensor:
        """Poses at the last frame, [B, 3]."""
        return self.poses[:, -1]

    @property
    def by_clip(self) -> Tensor:
        """Poses at all frames, [B, T, 17, 3]."""
        poses: Tensor = self.poses.unflatten(1, (-1, FRAMES_PER_CLIP))
        return poses

    @classmethod
    def ending_at(cls, ends: Tensor, motion: MotionModel, actions_BTFA: Tensor) -> "Paths":
        """Returns the paths that end at these poses, see `paths_ending_at`."""
        numbers, origin = actions_BTFA.flatten(1, 2), torch.zeros_like(ends)
        starts = compose(ends, relative(integrate_wheels(origin, numbers)[:, -1], origin))
        return cls.starting_at(starts, motion, actions_BTFA)._rebased(ends)

    @classmethod
    def starting_at(cls, starts: Tensor, motion: MotionModel, actions_BTFA: Tensor) -> "Paths":
        """Returns the paths that begin at these poses, before the first frame, and stop at obstacles."""
        return cls(actions_BTFA, starts, motion(starts, actions_BTFA.flatten(1, 2)))

    def moved(self, change: Tensor) -> "Paths":
        """Returns the paths moved as a whole by a motion [B, 3] of their last pose in its own frame."""
        return self._rebased(compose(self.ends, change))

    def replayed(self, motion: MotionModel) -> "Paths":
        """Returns the paths from the same first poses, past the obstacles there."""
        return Paths.starting_at(self.starts, motion, self.actions)

    @classmethod
    def join(cls, batches: "Sequence[Paths]") -> "Paths":
        """Joins several batches."""
        parts = ((paths.actions, paths.starts, paths.poses) for paths in batches)
        return cls(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def select(self, rows: Tensor) -> "Paths":
        """Returns the paths of these rows."""
        return Paths(self.actions[rows], self.starts[rows], self.poses[rows])

    def where(self, chosen_B: Tensor, other: "Paths") -> "Paths":
        """Returns these paths in the chosen rows, and the other paths in the other rows."""
        chosen = chosen_B[:, None]
        return Paths(
            self.actions,
            torch.where(chosen, self.starts, other.starts),
            torch.where(chosen[..., None], self.poses, other.poses),
        )

    def _rebased(self, ends: Tensor) -> "Paths":
        starts = compose(ends, relative(self.ends, self.starts))
        return Paths(self.actions, starts, compose(ends[:, None], relative(self.ends[:, None], self.poses)))


@torch.no_grad()
def paths_ending_at(ends: Tensor, motion: MotionModel, actions_BTFA: Tensor) -> Tensor:
    """Returns the paths of histories that end at given poses.

    The wheels are integrated backwards in an empty room, then forwards past the room's obstacles; the result is moved
    as a whole so that it ends at the given pose.

    Args:
        ends: poses at the last frame, float [B, 3].
        motion: computes poses from wheels.
        actions_BTFA: actions of T clips, float [B, T, 17, 25].

    Returns:
        Poses at all frames, float [B, T, 17, 3], yaw not wrapped; NaN if the end is NaN.
    """
    return Paths.ending_at(ends, motion, actions_BTFA).by_clip
