"""Commands become chunks that a robot can follow."""

from dataclasses import replace

import numpy as np
import pytest

from demos.driving.command import GESTURES, JOINT_SPEED, DriveCommand, Shaper
from hwm_env.data.statistics import ActionStatistics
from hwm_env.reference import robot
from hwm_env.types import ACTION_NAMES, FRAME_RATE_HZ

FASTEST = robot.RATE_LIMITS / np.float32(FRAME_RATE_HZ)
STATISTICS = ActionStatistics(
    mean=robot.REST_POSE,
    std=robot.ACTION_HIGH,
    low=robot.ACTION_LOW,
    high=robot.ACTION_HIGH,
    p01=robot.ACTION_LOW,
    p99=robot.ACTION_HIGH,
    max_change=FASTEST,
)
ELBOW = ACTION_NAMES.index("left_elbow_pitch")


def drive(*commands: DriveCommand) -> np.ndarray:
    """Frames of all clips, [17 N + 1, 25], from the rest pose on."""
    shaper, frames = Shaper(STATISTICS), [robot.REST_POSE[None]]
    for command in commands:
        frames.append(shaper.chunk(command, frames[-1][-1]))
    return np.concatenate(frames)


def test_nothing_is_faster_than_the_data_or_beyond_them() -> None:
    command = DriveCommand(forward=1, turn=-1, gesture="arms forward", joints={"neck_pitch": 1, "left_hand_closure": 1})
    frames = drive(*[command] * 8)
    assert (np.abs(np.diff(frames, axis=0)) <= FASTEST + 1e-6).all()
    assert (frames >= robot.ACTION_LOW - 1e-6).all()
    assert (frames <= robot.ACTION_HIGH + 1e-6).all()
    np.testing.assert_allclose(frames[-1, -2:], [0.8, -0.8], atol=1e-6)
    assert frames[-1, ACTION_NAMES.index("neck_pitch")] == pytest.approx(0.8)


def test_speed_is_a_share_of_the_highest() -> None:
    frames = drive(*[DriveCommand(forward=-0.5, turn=1, speed=0.5)] * 3)
    np.testing.assert_allclose(frames[-1, -2:], [-0.2, 0.4], atol=1e-6)


def test_letting_go_stops_the_wheels_and_holds_the_arm() -> None:
    frames = drive(
        DriveCommand(forward=1, joints={"left_elbow_pitch": 1}), DriveCommand(), DriveCommand(), DriveCommand()
    )
    np.testing.assert_array_equal(frames[-1, -2:], [0, 0])
    moved = 17 * JOINT_SPEED * FASTEST[ELBOW]
    np.testing.assert_allclose(frames[17:, ELBOW], robot.REST_POSE[ELBOW] + moved, atol=1e-5)


def test_a_gesture_is_reached_although_its_key_was_let_go() -> None:
    frames = drive(DriveCommand(gesture="left arm up"), *[DriveCommand()] * 3)
    for name, value in GESTURES["left arm up"].items():
        assert frames[-1, ACTION_NAMES.index(name)] == pytest.approx(value)


def test_a_joint_that_is_moved_leaves_its_gesture() -> None:
    frames = drive(
        DriveCommand(gesture="left arm up"), DriveCommand(joints={"left_elbow_pitch": -1}), *[DriveCommand()] * 4
    )
    assert frames[-1, ELBOW] == pytest.approx(frames[34, ELBOW])
    assert frames[-1, ACTION_NAMES.index("left_shoulder_pitch")] == pytest.approx(1.1)


def test_a_gesture_is_begun_once_however_long_it_stands_in_the_command() -> None:
    raised = DriveCommand(gesture="left arm up", presses=1)
    frames = drive(raised, replace(raised, joints={"left_elbow_pitch": -1}), *[raised] * 4)
    assert frames[-1, ELBOW] == pytest.approx(frames[34, ELBOW])
    again = drive(raised, replace(raised, joints={"left_elbow_pitch": -1}), *[replace(raised, presses=2)] * 4)
    assert again[-1, ELBOW] == pytest.approx(0.9)


def test_going_back_ends_a_gesture() -> None:
    shaper, raised = Shaper(STATISTICS), DriveCommand(gesture="left arm up", presses=1)
    shaper.chunk(raised, robot.REST_POSE)
    shaper.reset()
    np.testing.assert_array_equal(shaper.chunk(raised, robot.REST_POSE), np.tile(robot.REST_POSE, (17, 1)))


def test_gestures_name_numbers_within_the_limits() -> None:
    for gesture in GESTURES.values():
        for name, value in gesture.items():
            index = ACTION_NAMES.index(name)
            assert robot.ACTION_LOW[index] <= value <= robot.ACTION_HIGH[index]
