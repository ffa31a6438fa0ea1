"""Who says best where the robot is: the carried pose, a read-out of the predicted clips, or a filter of both."""

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

    The filter's variances are those of the errors in every second loop; all sources are judged on the other ones.

    Args:
        readout: reads the clips.
        tokens: of K clips in each of N loops, N at least 2, int [N, K, 3, H, W].
        carried: poses at their ends, float [N, K, 3], NaN where not known.
        truth: the same, known.
        steps: clips after which they are judged, counted from 1; those beyond K are left out.

    Returns:
        By step, then by `carried`, `readout` and `filter`, the error.
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
    """Corrects carried poses by what is read, as a Kalman filter whose state is a constant offset of the carried pose.

    Args:
        carried: poses at the ends of K clips, float [N, K, 3].
        read: the same, each with errors of its own.
        offset_variance: of the offset along x (m), y (m) and yaw (rad) before anything is read, [3].
        read_variance: of the errors of what is read, [3].

    Returns:
        float [N, K, 3]; after clip k, the k readings until then are known.
    """
    innovations = read - carried
    innovations = torch.cat([innovations[..., :2], wrap_angle(innovations[..., 2:])], dim=-1)
    count = torch.arange(1, carried.shape[1] + 1, device=carried.device)[:, None]
    # The mean of k readings, held back by what was known before.
    gains = count * offset_variance / (count * offset_variance + read_variance)
    return carried + gains * innovations.cumsum(dim=1) / count


def _variance(poses: Tensor, truth: Tensor) -> Tensor:
    """Returns the variance of errors that are Gaussian in the middle, [3], from their median."""
    errors = (poses - truth).flatten(0, 1)
    errors = torch.cat([errors[:, :2], wrap_angle(errors[:, 2:])], dim=1)
    known = errors[errors.isfinite().all(dim=1)]
    # Two in three of a Gaussian's errors are smaller than its deviation, half than 0.6745 of it.
    return (known.abs().median(dim=0).values / 0.6745).square().clamp(min=1e-12)
