"""How far poses are from other ones."""

from dataclasses import dataclass

from torch import Tensor

from hwm_env.scene.pose import wrap_angle


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How large some errors are."""

    median: float
    p90: float
    """Nine in ten are below it."""
    worst: float

    @classmethod
    def of(cls, errors: Tensor) -> "Spread":
        """Sums up at least one error, [N]."""
        return cls(median=errors.quantile(0.5).item(), p90=errors.quantile(0.9).item(), worst=errors.max().item())


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseError:
    """How far poses of the base are off."""

    position_m: Spread | None
    """Distance; None where no pose is known."""
    heading_deg: Spread | None
    """The same for the angle between the headings."""
    unknown: float
    """Share of worlds that do not know their place; they do not count above."""
    count: int
    """Worlds judged, those among them."""


def compare_poses(poses: Tensor, truth: Tensor) -> PoseError:
    """Compares poses with others.

    Args:
        poses: x (m), y (m), yaw (rad), float [N, 3], NaN where not known.
        truth: float [N, 3], the same.
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
