import math

import pytest
import torch

from hwm_env.evaluation.worlds.pose_error import compare_poses


def test_distances_and_angles() -> None:
    truth = torch.tensor([[1.0, 2.0, 3.1]]).expand(11, 3)
    poses = truth.clone()
    poses[:, 0] += 0.3 * torch.arange(11) / 10
    poses[:, 1] -= 0.4 * torch.arange(11) / 10
    poses[:, 2] += math.radians(10) * torch.arange(11) / 10 - 2 * math.pi
    error = compare_poses(poses, truth)
    assert error.position_m is not None
    assert error.heading_deg is not None
    assert (error.position_m.median, error.position_m.p90, error.position_m.worst) == pytest.approx((0.25, 0.45, 0.5))
    assert error.heading_deg.median == pytest.approx(5.0, abs=1e-3)
    assert error.heading_deg.worst == pytest.approx(10.0, abs=1e-3)
    assert (error.unknown, error.count) == (0.0, 11)


def test_unknown_poses_do_not_count_as_near_or_far() -> None:
    truth = torch.zeros(4, 3)
    poses = truth.clone()
    poses[0] = torch.nan
    error = compare_poses(poses, truth)
    assert (error.unknown, error.count) == (0.25, 4)
    assert error.position_m is not None
    assert error.position_m.worst == 0.0
    nothing = compare_poses(torch.full((2, 3), torch.nan), truth[:2])
    assert (nothing.position_m, nothing.heading_deg, nothing.unknown) == (None, None, 1.0)
