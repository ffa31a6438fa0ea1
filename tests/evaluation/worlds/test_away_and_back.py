"""Turns away and back: the reference world returns to its view, and scores of worlds that are known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.evaluation.worlds import away_and_back
from hwm_env.evaluation.worlds.away_and_back import (
    CLIPS,
    SPEED_RAD_S,
    STAYING_CLIPS,
    Trip,
    measure_away_and_back,
    travel,
    turn_speeds,
)
from hwm_env.evaluation.worlds.closed_loops import Loops
from hwm_env.reference import robot
from hwm_env.reference.kinematics import LARGEST_CHANGE
from hwm_env.reference.rendering import can_render
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY

needs_rendering = pytest.mark.skipif(not can_render(), reason="MuJoCo cannot make an OpenGL context on this machine")


@pytest.mark.parametrize("angle_deg", [90.0, -123.4, 180.0, 5.0])
def test_a_turn_adds_up_and_stays_within_the_limits(angle_deg: float) -> None:
    speeds = turn_speeds(math.radians(angle_deg))
    assert speeds.sum() / 30 == pytest.approx(math.radians(angle_deg))
    assert np.abs(speeds).max() <= SPEED_RAD_S + 1e-9
    changes = np.diff(speeds, prepend=0.0, append=0.0)
    assert np.abs(changes).max() <= LARGEST_CHANGE[ANGULAR_VELOCITY] + 1e-9
    assert len(speeds) <= away_and_back.TURNING_CLIPS * 17


@needs_rendering
@pytest.mark.parametrize("angle_deg", [90.0, -180.0])
def test_the_robot_turns_away_and_really_comes_back(angle_deg: float) -> None:
    numbers = robot.pose({"linear_velocity": 0.4, "angular_velocity": -0.5, "left_elbow_pitch": 1.0})
    with away_and_back.ReferenceWorld(64) as world:
        trip = travel(world, np.array([-2.0, -1.0, 0.5]), numbers, math.radians(angle_deg))
        picture = world.render()
    assert trip.actions.shape == (CLIPS, 17, 25)
    begin, end = trip.poses[0, -1], trip.poses[-STAYING_CLIPS, 0]
    assert np.allclose(end, begin, atol=1e-5)
    assert np.array_equal(trip.poses[-STAYING_CLIPS:].reshape(-1, 3), np.tile(end, (17 * STAYING_CLIPS, 1)))
    turned = np.unwrap(trip.poses[..., 2].ravel()) - begin[2]
    farthest = turned[np.abs(turned[17:]).argmax() + 17]
    assert math.degrees(farthest) == pytest.approx(angle_deg, abs=0.01)
    # The robot looks away for longer than a clip.
    assert (np.abs(turned - farthest) < 1e-4).sum() >= 17
    assert np.allclose(trip.poses[1:, :, :2], begin[:2])
    rates, speeds = trip.actions[..., ANGULAR_VELOCITY].ravel(), trip.actions[..., LINEAR_VELOCITY].ravel()
    assert np.abs(rates[17:]).max() <= SPEED_RAD_S + 1e-6
    assert np.abs(np.diff(rates)).max() <= LARGEST_CHANGE[ANGULAR_VELOCITY] + 1e-6
    assert not speeds[17:].any()
    joints = np.delete(trip.actions, [LINEAR_VELOCITY, ANGULAR_VELOCITY], axis=-1)
    assert np.array_equal(
        joints, np.broadcast_to(np.delete(numbers, [LINEAR_VELOCITY, ANGULAR_VELOCITY]), joints.shape)
    )
    assert np.array_equal(trip.after[-1, -1], picture)


class Painter:
    """A simulator of two worlds that repeats the last frame before the turn away, brighter by `noise`."""

    checkpoint = SimpleNamespace(image_size=64)
    device = "cpu"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, noise: int) -> None:
        self.tokenizer = self
        self.pictures: list[Tensor] = []
        self.trips: list[Trip] = []
        original = away_and_back.travel

        def remembered(*args: object) -> Trip:
            self.trips.append(original(*args))  # type: ignore[arg-type]
            return self.trips[-1]

        def continued(simulator: object, *args: object, poses: Tensor | None) -> Loops:
            tokens = torch.zeros(len(self.trips), CLIPS, 1, dtype=torch.int64)
            for row, trip in enumerate(self.trips):
                before = torch.from_numpy(trip.before)
                tokens[row, :1] = self.encode(before)
                still = before[-1, -1].int() + noise
                tokens[row, -2:] = self.encode(still.clamp(0, 255).to(torch.uint8).expand(2, 17, -1, -1, -1))
            ends = torch.tensor(np.stack([trip.poses[-1, -1] for trip in self.trips]))
            return Loops(tokens, ends[:, None].expand(-1, CLIPS + 1, -1))

        monkeypatch.setattr(away_and_back, "travel", remembered)
        monkeypatch.setattr(away_and_back, "continue_worlds", continued)

    def encode(self, clips: Tensor) -> Tensor:
        first = len(self.pictures)
        self.pictures += list(clips)
        return torch.arange(first, len(self.pictures))[:, None]

    def decode(self, tokens: Tensor) -> Tensor:
        return torch.stack([self.pictures[token] for token in tokens[:, 0]])


class Resting:
    """Two episodes in which the robot stands still."""

    tokens = torch.zeros(2, 9, 3, 8, 8)
    actions = torch.from_numpy(robot.REST_POSE.copy()).expand(2, 9, 17, 25)

    def __len__(self) -> int:
        return 2

    def poses(self) -> Tensor:
        return torch.tensor([[-2.0, -1.0, 0.0], [0.0, 2.0, 3.0]])[:, None].expand(-1, 9, -1)


@needs_rendering
def test_worlds_with_and_without_memory_have_different_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = measure_away_and_back(Painter(monkeypatch, 0), Resting(), starts=5)  # type: ignore[arg-type]
    assert exact.starts == 2
    assert exact.psnr > 60  # a turn back may be off by a rounding error
    assert exact.psnr_before == exact.psnr_tokenizer_ceiling == 100.0
    assert exact.carried_pose is not None
    assert exact.carried_pose.position_m is not None
    assert exact.carried_pose.position_m.worst < 1e-6
    monkeypatch.undo()
    worse = measure_away_and_back(Painter(monkeypatch, 30), Resting(), starts=5)  # type: ignore[arg-type]
    assert 20 * math.log10(255 / 30) <= worse.psnr < 25
    assert worse.psnr_worst == min(worse.psnr_by_start) <= worse.psnr
