"""Kinematic and learned cameras."""

import pytest
import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot
from hwm_env.reference.mujoco_model import CAMERA_NAME, mujoco_xml
from hwm_env.scene.camera import CameraLink, KinematicCamera, LearnedCamera
from hwm_env.scene.robot_description import links_from_mjcf
from hwm_env.types import ACTION_DIM, NUM_JOINTS


def random_camera(seed: int) -> LearnedCamera:
    torch.manual_seed(seed)
    camera = LearnedCamera(hidden=16)
    for parameter in camera.parameters():
        torch.nn.init.normal_(parameter)
    return camera


def test_a_learned_camera_starts_at_the_height_of_a_head_and_looks_ahead() -> None:
    place, rotation = LearnedCamera()(torch.randn(3, 4, ACTION_DIM))
    torch.testing.assert_close(place, torch.tensor([0.0, 0.0, 1.2]).expand(3, 4, 3))
    torch.testing.assert_close(rotation, torch.eye(3).expand(3, 4, 3, 3))
    torch.testing.assert_close(LearnedCamera(height_m=0.5)(torch.zeros(ACTION_DIM))[0], torch.tensor([0.0, 0.0, 0.5]))


@pytest.mark.parametrize("seed", range(5))
def test_rotations_are_orthogonal_for_any_weights(seed: int) -> None:
    place, rotation = random_camera(seed)(torch.randn(50, ACTION_DIM))
    assert place.shape == (50, 3)
    assert place.std(dim=0).min() > 0.1
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(50, 3, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50), atol=1e-4, rtol=0)


@pytest.mark.parametrize("output", [0, 1])
def test_gradients_reach_every_weight_and_the_numbers(output: int) -> None:
    camera = random_camera(0)
    numbers = torch.randn(5, ACTION_DIM, requires_grad=True)
    values = camera(numbers)[output]
    (values * torch.randn_like(values)).sum().backward()
    for tensor in (*camera.parameters(), numbers):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


def test_gradients_are_finite_where_it_starts() -> None:
    camera = LearnedCamera()
    place, rotation = camera(torch.zeros(2, ACTION_DIM))
    (place.sum() + (rotation * torch.randn(3, 3)).sum()).backward()
    assert camera.second.bias.grad is not None
    assert camera.second.bias.grad.isfinite().all()
    assert camera.second.bias.grad.all()


def test_numbers_are_normalised_by_their_statistics() -> None:
    camera = random_camera(0)
    numbers, mean, std = torch.randn(6, ACTION_DIM), torch.randn(ACTION_DIM), torch.rand(ACTION_DIM) + 0.5
    plain = camera(numbers)
    camera.number_mean.copy_(mean)
    camera.number_std.copy_(std)
    for value, expected in zip(camera(numbers * std + mean), plain, strict=True):
        torch.testing.assert_close(value, expected, atol=1e-4, rtol=1e-4)
    assert {"number_mean", "number_std"} <= set(camera.state_dict())


@pytest.mark.slow
def test_a_learned_camera_learns_the_head_of_the_reference_world() -> None:
    torch.manual_seed(0)
    low, high = torch.tensor(robot.JOINT_LIMITS_RAD, dtype=torch.float32).T
    truth = KinematicCamera(links_from_mjcf(mujoco_xml(), CAMERA_NAME, "base"))
    camera = LearnedCamera()

    def random_numbers(batch: int) -> Tensor:
        numbers = torch.randn(batch, ACTION_DIM)
        numbers[:, :NUM_JOINTS] = low + (high - low) * torch.rand(batch, NUM_JOINTS)
        return numbers

    std, mean = torch.std_mean(random_numbers(4096), dim=0)
    camera.number_mean.copy_(mean)
    camera.number_std.copy_(std)
    steps = 400
    optimiser = torch.optim.Adam(camera.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        numbers = random_numbers(256)
        loss = sum(
            (learned - true).square().mean() for learned, true in zip(camera(numbers), truth(numbers), strict=True)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    numbers = random_numbers(2000)
    (place, rotation), (true_place, true_rotation) = camera(numbers), truth(numbers)
    error_m = (place - true_place).norm(dim=-1).mean()
    cos = ((rotation.mT @ true_rotation).diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    error_deg = torch.rad2deg(torch.arccos(cos.clamp(-1, 1))).mean()
    assert error_m < 0.03
    assert error_deg < 5


def test_a_joint_slides_along_and_turns_around_its_axis() -> None:
    numbers = torch.zeros(ACTION_DIM)
    numbers[[0, 20]] = torch.tensor([0.5, torch.pi / 2])
    slide = CameraLink(offset_m=(1.0, 0.0, 0.0), number="hip_yaw", axis=(0.0, 1.0, 0.0), slides=True)
    turn = CameraLink(number="neck_pitch", axis=(0.0, 0.0, 1.0))
    place, rotation = KinematicCamera([slide, turn, CameraLink(offset_m=(2.0, 0.0, 0.0))])(numbers)
    torch.testing.assert_close(place, torch.tensor([1.0, 2.5, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(rotation[:, 0], torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset_m": (0.0, 1.0)}, r"offset_m\[2\] must be given"),
        ({"rotation": (1.0,)}, "rotation must be 9 or more items"),
        ({"axis": ()}, r"axis\[0\] must be given"),
        ({"number": "tail"}, "number must be one of hip_yaw, .*, got 'tail'"),
    ],
)
def test_a_link_refuses_what_it_cannot_be(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        CameraLink(**fields)  # type: ignore[arg-type]
