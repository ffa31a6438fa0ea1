"""Errors of poses: distances and differences of heading."""

from dataclasses import dataclass

from torch import Tensor

from hwm_env.scene.pose import wrap_angle


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The distribution of errors."""

    median: float
    p90: float
    """90th percentile."""
    worst: float
    """Largest error."""

    @classmethod
    def of(cls, errors: Tensor) -> "Spread":
        """Summarises errors [N], N at least 1."""
        return cls(median=errors.quantile(0.5).item(), p90=errors.quantile(0.9).item(), worst=errors.max().item())


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseError:
    """Errors of the poses of N robots."""

    position_m: Spread | None
    """Distance between the positions; `None` if no pose is known."""
    heading_deg: Spread | None
    """Angle between the headings; `None` if no pose is known."""
    unknown: float
    """Share of unknown poses, 0..1; they are left out above."""
    count: int
    """Number of poses, including unknown ones."""


def compare_poses(poses: Tensor, truth: Tensor) -> PoseError:
    """Compares poses with true ones.

    Args:
        poses: x (m), y (m) and yaw (rad), float [N, 3], NaN where unknown.
        truth: the same for the true poses, float [N, 3].
    """
    known = poses.isfinite().all(dim=1) & truth.isfinite().all(dim=1)
    difference = poses[known].double() - truth[known].double()
    position_m, heading_deg = difference[:, :2].norm(dim=1), wrap_angle(difference[:, 2]).abs().rad2deg()
    return PoseError(
        position_m=Spread.of(position_m) if len(position_m) else None,
        heading_deg=Spread.of(heading_deg) if len(heading_deg) else None,
        unknown=1 - known.double().mean().item(),
        count=len(poses),
    )
