"""Compares sources of the pose in closed loops: the carried pose, a read-out of predicted clips, a filter of both."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hwm_env.evaluation.worlds.pose_error import PoseError, compare_poses
from hwm_env.evaluation.worlds.readout_error import read_clips
from hwm_env.model.readout import Readout
from hwm_env.scene.pose import wrap_angle
from hwm_env.types import POSE_DIM


def compare_sources(
    readout: Readout, tokens: Tensor, carried: Tensor, truth: Tensor, steps: Sequence[int]
) -> dict[str, dict[str, PoseError]]:
    """Compares three sources of the pose with the truth.

    The variances of the filter are fitted to every second loop; the errors are those of the other loops.

    Args:
        readout: reads the clips.
        tokens: tokens of K clips in each of N loops, N at least 2, int [N, K, 3, H, W].
        carried: carried poses at the ends of the clips, float [N, K, 3], NaN where unknown.
        truth: true poses, float [N, K, 3].
        steps: env steps after which poses are compared, from 1; those beyond K are left out.

    Returns:
        The error by step, then by source: `carried`, `readout` and `filter`.
    """
    read = torch.stack([read_clips(readout, clips)[:, :POSE_DIM] for clips in tokens])
    fitted, judged = slice(0, None, 2), slice(1, None, 2)
    offsets, noise = (_variance(poses[fitted], truth[fitted]) for poses in (carried, read))
    filtered = filter_poses(carried[judged], read[judged], offsets, noise)
    sources = {"carried": carried[judged], "readout": read[judged], "filter": filtered}
    return {
        str(step): {name: compare_poses(poses[:, step - 1], truth[judged, step - 1]) for name, poses in sources.items()}
        for step in steps
        if step <= tokens.shape[1]
    }


def filter_poses(carried: Tensor, read: Tensor, offset_variance: Tensor, read_variance: Tensor) -> Tensor:
    """Corrects carried poses by readings, with a Kalman filter whose state is a constant offset of the carried pose.

    Args:
        carried: carried poses at the ends of K clips, float [N, K, 3].
        read: poses that a read-out reads from each clip, with independent errors, float [N, K, 3].
        offset_variance: prior variance of the offset along x (m^2), y (m^2) and yaw (rad^2), [3].
        read_variance: variance of the readings' errors, [3].

    Returns:
        float [N, K, 3]; the pose after clip k uses the readings of the first k clips.
    """
    innovations = read - carried
    innovations = torch.cat([innovations[..., :2], wrap_angle(innovations[..., 2:])], dim=-1)
    count = torch.arange(1, carried.shape[1] + 1, device=carried.device)[:, None]
    # The mean of k innovations, shrunk towards the prior.
    gains = count * offset_variance / (count * offset_variance + read_variance)
    return carried + gains * innovations.cumsum(dim=1) / count


def _variance(poses: Tensor, truth: Tensor) -> Tensor:
    """Estimates the variance of errors from their median, as for a Gaussian, [3]; robust to outliers."""
    errors = (poses - truth).flatten(0, 1)
    errors = torch.cat([errors[:, :2], wrap_angle(errors[:, 2:])], dim=1)
    known = errors[errors.isfinite().all(dim=1)]
    # Half of a Gaussian's errors are smaller than 0.6745 standard deviations.
    return (known.abs().median(dim=0).values / 0.6745).square().clamp(min=1e-12)
