from functools import cache

import numpy as np
import pytest

from hwm_env.reference import robot, room
from hwm_env.reference.behaviour import Teleoperator
from hwm_env.reference.kinematics import RobotState, advance
from hwm_env.types import ACTION_NAMES, FRAME_RATE_HZ, LINEAR_VELOCITY

EPISODES, FRAMES = 24, 400


def play(seed: int, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wanted and measured numbers and base poses of one episode from a few metres before the east wall."""
    teleoperator = Teleoperator(np.random.default_rng(seed))
    state = RobotState(np.array([0.3, -0.5, 0.1 * (seed - EPISODES / 2)]), robot.REST_POSE)
    wanted, measured, poses = [], [], []
    for _ in range(frames):
        action = teleoperator.act(state)
        state = advance(state, action)
        wanted.append(action)
        measured.append(state.action)
        poses.append(state.base_pose)
    return np.array(wanted), np.array(measured), np.array(poses)


@cache
def episodes() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [play(seed) for seed in range(EPISODES)]


def column(name: str) -> np.ndarray:
    return np.stack([measured[:, ACTION_NAMES.index(name)] for _, measured, _ in episodes()])


@pytest.mark.slow
def test_equal_seeds_play_the_same_and_others_do_not() -> None:
    again = play(3, frames=100)
    for first, second in zip(episodes()[3], again, strict=True):
        np.testing.assert_array_equal(first[:100], second)
    assert not np.array_equal(episodes()[3][0], episodes()[4][0])


def test_the_robot_can_do_what_it_is_told() -> None:
    for wanted, measured, _ in episodes():
        np.testing.assert_allclose(wanted, measured, atol=1e-5)


def test_joints_move_smoothly() -> None:
    joints = np.stack([measured[:, :23] for _, measured, _ in episodes()]).astype(np.float64)
    speed = np.diff(joints, axis=1) * FRAME_RATE_HZ
    acceleration = np.abs(np.diff(speed, axis=1)) * FRAME_RATE_HZ
    # A jump to a target one radian away would be 900 rad/s^2.
    assert acceleration.max() < 60.0


def test_the_base_moves_most_of_the_time_and_turns_about_half_of_it() -> None:
    turning = np.abs(column("angular_velocity")) > 0.1
    moving = turning | (np.abs(column("linear_velocity")) > 0.05)
    assert 0.6 < moving.mean() < 0.95
    assert 0.4 < turning.mean() < 0.8
    assert abs(column("angular_velocity").mean()) < 0.15


@pytest.mark.parametrize("side", ["left", "right"])
def test_arms_and_hands_are_used_and_rested(side: str) -> None:
    raised = (column(f"{side}_shoulder_pitch") > 0.5).mean()
    closed = (column(f"{side}_hand_closure") > 0.5).mean()
    assert 0.15 < raised < 0.7
    assert 0.05 < closed < 0.7


def test_every_number_is_used() -> None:
    spans = {name: np.ptp(column(name)) for name in ACTION_NAMES}
    assert min(spans.values()) > 0.05, spans


def test_obstacles_are_mostly_minded_and_sometimes_hit() -> None:
    driving = blocked = 0
    facing = []
    for _, measured, poses in episodes():
        is_driving = np.abs(measured[1:, LINEAR_VELOCITY]) > 0.1
        driving += is_driving.sum()
        blocked += (is_driving & (np.abs(np.diff(poses[:, :2], axis=0)).max(1) == 0.0)).sum()
        facing += [room.free_path_m(pose[:2], pose[2]) for pose in poses[::30]]
    # Without any care it would be 0.13, without any stubbornness 0.
    assert 0.01 < blocked / driving < 0.08
    assert np.mean(np.array(facing) < 0.3) < 0.2


def test_straight_ahead_into_a_wall_is_avoided_by_turning() -> None:
    state = RobotState(np.array([2.9, -1.0, 0.0]), robot.REST_POSE)
    turned = 0
    for seed in range(20):
        teleoperator, after = Teleoperator(np.random.default_rng(seed)), state
        for _ in range(90):
            after = advance(after, teleoperator.act(after))
        turned += abs(after.base_pose[2]) > 0.3
    assert turned >= 14
