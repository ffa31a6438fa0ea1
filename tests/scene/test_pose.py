"""Poses in the plane, against complex numbers and the reference world's kinematics."""

import cmath
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.reference import room
from hwm_env.reference.kinematics import move_base
from hwm_env.scene.pose import compose, integrate_wheels, relative, wheel_motions, wrap_angle
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY


def random_poses(*shape: int, seed: int = 0) -> Tensor:
    return 4 * torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_wheels(batch: int, frames: int, seed: int = 0) -> Tensor:
    """Returns numbers with these wheels and noise in all others, which must not matter."""
    return 2 * torch.randn(batch, frames, 25, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same_heading(one: Tensor, other: Tensor, tolerance_rad: float) -> bool:
    return bool(((one - other).sin().abs() < tolerance_rad).all() and ((one - other).cos() > 0).all())


def test_compose_is_a_turn_and_a_shift_of_complex_numbers() -> None:
    for pose, motion in zip(random_poses(20), random_poses(20, seed=1), strict=True):
        x, y, yaw = pose.tolist()
        expected = complex(x, y) + cmath.exp(1j * yaw) * complex(*motion[:2].tolist())
        got = compose(pose, motion).tolist()
        assert complex(*got[:2]) == pytest.approx(expected, abs=1e-12)
        assert got[2] == pytest.approx(yaw + motion[2].item())


def test_relative_inverts_compose() -> None:
    poses, others = random_poses(5, 7), random_poses(5, 7, seed=1)
    motion = relative(poses, others)
    assert (motion[..., 2] >= -math.pi).all()
    assert (motion[..., 2] < math.pi).all()
    again = compose(poses, motion)
    torch.testing.assert_close(again[..., :2], others[..., :2])
    assert same_heading(again[..., 2], others[..., 2], 1e-9)
    back = relative(poses, compose(poses, others))
    torch.testing.assert_close(back[..., :2], others[..., :2])
    assert same_heading(back[..., 2], others[..., 2], 1e-9)


def test_motions_are_broadcast_over_poses_and_poses_over_motions() -> None:
    pose, motions = random_poses(2, 1), random_poses(2, 6, seed=1)
    expected = torch.stack([compose(pose[:, 0], motions[:, index]) for index in range(6)], dim=1)
    torch.testing.assert_close(compose(pose, motions), expected, rtol=0, atol=0)
    expected = torch.stack([compose(motions[:, index], pose[:, 0]) for index in range(6)], dim=1)
    torch.testing.assert_close(compose(motions, pose), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("angle", "expected"),
    [
        (0.0, 0.0),
        (3.0, 3.0),
        (-3.0, -3.0),
        (4.0, 4 - 2 * math.pi),
        (-4.0, 2 * math.pi - 4),
        (100.0, 100 - 32 * math.pi),
    ],
)
def test_wrapped_angles(angle: float, expected: float) -> None:
    assert wrap_angle(torch.tensor(angle, dtype=torch.float64)).item() == pytest.approx(expected, abs=1e-12)


def test_half_a_turn_is_wrapped_to_the_lower_bound() -> None:
    assert wrap_angle(torch.tensor(math.pi, dtype=torch.float64)).item() == -math.pi


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wheels_move_like_the_reference_world_in_an_empty_room(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(room, "is_free", lambda xy: True)
    starts, numbers = random_poses(6).to(dtype), random_wheels(6, 34).to(dtype)
    numbers[2, :, ANGULAR_VELOCITY] = 0.0  # straight ahead, where the arc's radius is infinite
    path = integrate_wheels(starts, numbers)
    assert path.dtype == dtype
    assert path.shape == (6, 34, 3)
    step_by_step, motions = starts, wheel_motions(numbers)
    for frame in range(34):
        step_by_step = compose(step_by_step, motions[:, frame])
        torch.testing.assert_close(path[:, frame], step_by_step, rtol=0, atol=1e-5)
    for row in range(6):
        pose = starts[row].double().numpy()
        for frame in range(34):
            of_frame = numbers[row, frame]
            pose = move_base(pose, of_frame[LINEAR_VELOCITY].item(), of_frame[ANGULAR_VELOCITY].item())
            np.testing.assert_allclose(path[row, frame, :2].numpy(), pose[:2], atol=1e-5)
            assert same_heading(path[row, frame, 2].double(), torch.tensor(pose[2]), 1e-5)


def test_a_pose_can_be_differentiated_through() -> None:
    start = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    numbers = random_wheels(1, 5)
    numbers[:, :, ANGULAR_VELOCITY] = 0.0
    end = integrate_wheels(start, numbers)[0, -1]
    (slope,) = torch.autograd.grad(end[1], start)
    assert slope[0].tolist() == pytest.approx([0.0, 1.0, end[0].item()])
