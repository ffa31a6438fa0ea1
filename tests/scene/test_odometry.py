"""The odometry against the reference world's motion of the base."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot, room
from hwm_env.reference.kinematics import move_base, wrap_angle
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY


def odometry_in(monkeypatch: pytest.MonkeyPatch, free_logit: Callable[[Tensor], Tensor]) -> Odometry:
    odometry = Odometry(OdometryConfig(hidden=8))
    monkeypatch.setattr(odometry, "free_logit", free_logit)
    return odometry


def true_room(xy_m: Tensor) -> Tensor:
    return torch.from_numpy(room.obstacle_distance(xy_m.double().numpy()) - robot.BASE_RADIUS_M)


def east_wall(xy_m: Tensor) -> Tensor:
    """Free floor where x <= 1."""
    return 1.0 - xy_m[..., 0]


def random_chunks(batch: int, frames: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns free poses and numbers whose wheels are fast enough to hit obstacles."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-3.6, 3.6, size=(20 * batch, 2))
    places = places[room.is_free(places)][:batch]
    poses = np.concatenate([places, rng.uniform(-np.pi, np.pi, size=(batch, 1))], axis=1)
    numbers = rng.normal(size=(batch, frames, 25))
    numbers[..., LINEAR_VELOCITY] = rng.uniform(-1, 3, size=(batch, 1)) + rng.normal(size=(batch, frames))
    numbers[..., ANGULAR_VELOCITY] = rng.normal(size=(batch, 1)) + rng.normal(size=(batch, frames))
    return torch.from_numpy(poses), torch.from_numpy(numbers)


def straight(frames: int, velocity_m_s: float) -> Tensor:
    numbers = torch.zeros(1, frames, 25)
    numbers[..., LINEAR_VELOCITY] = velocity_m_s
    return numbers


@pytest.mark.parametrize("empty", [True, False])
def test_the_reference_world_moves_its_base_the_same_way(monkeypatch: pytest.MonkeyPatch, empty: bool) -> None:
    start, numbers = random_chunks(batch=60, frames=34, seed=0)
    if empty:
        monkeypatch.setattr(room, "is_free", lambda xy: True)
    odometry = odometry_in(monkeypatch, (lambda xy_m: xy_m.new_ones(xy_m.shape[:-1])) if empty else true_room)
    carried = odometry(start, numbers).numpy()
    refused = 0
    for row in range(len(start)):
        pose = start[row].numpy()
        for frame in range(numbers.shape[1]):
            before = pose
            pose = move_base(
                pose, float(numbers[row, frame, LINEAR_VELOCITY]), float(numbers[row, frame, ANGULAR_VELOCITY])
            )
            refused += bool((pose[:2] == before[:2]).all())
            np.testing.assert_allclose(carried[row, frame, :2], pose[:2], atol=1e-12)
            assert abs(wrap_angle(carried[row, frame, 2] - pose[2])) < 1e-12
    assert refused == 0 if empty else refused > 100


@pytest.mark.parametrize("learned", [True, False])
def test_a_row_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch, learned: bool) -> None:
    torch.manual_seed(0)
    odometry = Odometry(OdometryConfig()) if learned else odometry_in(monkeypatch, true_room)
    start, numbers = random_chunks(batch=16, frames=17, seed=1)
    start, numbers = start.float(), numbers.float()
    together = odometry(start, numbers)
    alone = torch.cat([odometry(start[row : row + 1], numbers[row : row + 1]) for row in range(len(start))])
    assert torch.equal(together, alone)
    standing = (together[:, 1:, :2] == together[:, :-1, :2]).all(dim=2).any(dim=1)
    assert 0 < standing.sum() < len(start)


def test_clips_one_by_one_are_the_clips_together(monkeypatch: pytest.MonkeyPatch) -> None:
    odometry = odometry_in(monkeypatch, true_room)
    start, numbers = random_chunks(batch=16, frames=34, seed=2)
    first = odometry(start, numbers[:, :17])
    second = odometry(first[:, -1], numbers[:, 17:])
    torch.testing.assert_close(torch.cat([first, second], dim=1), odometry(start, numbers), atol=1e-12, rtol=0)


def test_a_base_inside_an_obstacle_can_leave_it_but_not_go_deeper(monkeypatch: pytest.MonkeyPatch) -> None:
    odometry = odometry_in(monkeypatch, east_wall)
    start = torch.tensor([[1.03, 0.0, 0.0]])
    assert odometry(start, straight(17, 0.5))[0, :, 0].tolist() == pytest.approx([1.03] * 17)
    outwards = odometry(start, straight(17, -0.5))[0, :, 0]
    assert outwards.tolist() == pytest.approx([1.03 - 0.5 / 30 * frame for frame in range(1, 18)])
    # Once out, it does not enter again.
    numbers = torch.cat([straight(3, -0.5), straight(14, 0.5)], dim=1)
    assert odometry(start, numbers)[0, -1, 0].item() <= 1.0


def test_a_blocked_base_turns_and_then_drives_away(monkeypatch: pytest.MonkeyPatch) -> None:
    odometry = odometry_in(monkeypatch, east_wall)
    numbers = straight(68, 0.5)
    numbers[:, 17:51, ANGULAR_VELOCITY] = torch.pi / 34 * 30
    poses = odometry(torch.tensor([[0.9, 0.0, 0.0]]), numbers)[0]
    assert poses[16].tolist() == pytest.approx([0.9 + 6 * 0.5 / 30, 0.0, 0.0], abs=1e-5)
    assert poses[50, 2].item() == pytest.approx(torch.pi, abs=1e-4)
    assert poses[-1, 0].item() < 0.75


def test_clearance_outside_the_bounds_follows_the_border() -> None:
    torch.manual_seed(0)
    odometry = Odometry(OdometryConfig(low_m=(-1, -1), high_m=(1, 1)))
    with torch.no_grad():
        odometry.third.bias.fill_(10.0)
        border, beyond = odometry.clearance_m(torch.tensor([[1.0, 0.5], [3.0, 0.5]]))
        assert beyond == border > 0
        odometry.third.bias.fill_(-10.0)
        border, beyond = odometry.clearance_m(torch.tensor([[1.0, 0.5], [3.0, 0.5]]))
    assert beyond.item() == pytest.approx(border.item() - 2)


def test_inputs_that_do_not_fit_are_refused() -> None:
    odometry = Odometry(OdometryConfig(hidden=8))
    with pytest.raises(InvalidInputError, match=r"\[B, 3\], got \[3\]"):
        odometry(torch.zeros(3), torch.zeros(1, 17, 25))
    with pytest.raises(InvalidInputError, match=r"\[2, F, 25\] for 2 poses, got \[1, 17, 25\]"):
        odometry(torch.zeros(2, 3), torch.zeros(1, 17, 25))
    for wrong in ({"low_m": (5.0, 0.0)}, {"hidden": 0}, {"waves": -1}):
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            OdometryConfig(**wrong)  # type: ignore[arg-type]
