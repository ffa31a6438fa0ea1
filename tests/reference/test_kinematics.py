import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot, room
from hwm_env.reference.kinematics import RobotState, advance, move_base, wrap_angle
from hwm_env.types import ANGULAR_VELOCITY, FRAME_RATE_HZ, LINEAR_VELOCITY, Float32Array

OPEN_SPOT = (0.0, -0.3)


def still(x: float, y: float, yaw: float) -> RobotState:
    return RobotState(np.array([x, y, yaw]), robot.REST_POSE)


def moving(velocity: float, turn_rate: float) -> Float32Array:
    return robot.pose({"linear_velocity": velocity, "angular_velocity": turn_rate})


@pytest.mark.parametrize(("velocity", "turn_rate"), [(0.3, 0.6), (0.4, -0.8), (-0.2, 0.5), (0.5, 0.0)])
def test_constant_velocities_follow_the_closed_form_arc(velocity: float, turn_rate: float) -> None:
    frames, yaw = 30, 0.7
    pose = np.array([*OPEN_SPOT, yaw])
    for _ in range(frames):
        pose = move_base(pose, velocity, turn_rate)
    seconds = frames / FRAME_RATE_HZ
    if turn_rate == 0.0:
        expected = np.array(OPEN_SPOT) + velocity * seconds * np.array([np.cos(yaw), np.sin(yaw)])
    else:
        radius, end = velocity / turn_rate, yaw + turn_rate * seconds
        arc = [np.sin(end) - np.sin(yaw), np.cos(yaw) - np.cos(end)]
        expected = np.array(OPEN_SPOT) + radius * np.array(arc)
    np.testing.assert_allclose(pose, [*expected, yaw + turn_rate * seconds], atol=1e-9)


def test_positive_angular_velocity_turns_left_and_forward_is_where_the_robot_looks() -> None:
    north = move_base(np.array([0.0, -1.0, np.pi / 2]), 0.5, 0.3)
    assert north[1] > -1.0
    assert north[2] > np.pi / 2


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_measured_numbers_obey_joint_and_rate_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state = still(*OPEN_SPOT, 0.0)
    for _ in range(20):
        after = advance(state, rng.uniform(-10, 10, 25).astype(np.float32))
        assert after.action.dtype == np.float32
        assert (after.action >= robot.ACTION_LOW).all()
        assert (after.action <= robot.ACTION_HIGH).all()
        change_per_s = np.abs(after.action.astype(np.float64) - state.action) * FRAME_RATE_HZ
        assert (change_per_s <= robot.RATE_LIMITS * (1 + 1e-4)).all()
        state = after


def test_a_held_action_is_reached_and_then_measured_exactly() -> None:
    wanted = robot.pose({"left_shoulder_pitch": 1.2, "neck_pitch": -0.3, "right_hand_closure": 1.0})
    state = still(*OPEN_SPOT, 0.0)
    for _ in range(60):
        state = advance(state, wanted)
    np.testing.assert_array_equal(state.action, wanted)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_base_never_enters_walls_or_furniture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state = still(*OPEN_SPOT, rng.uniform(-np.pi, np.pi))
    for _ in range(25):
        action = moving(rng.uniform(0.2, 0.8), rng.uniform(-0.8, 0.8))
        for _ in range(20):
            state = advance(state, action)
            x, y, yaw = state.base_pose
            assert max(abs(x), abs(y)) <= room.HALF_SIZE_M - robot.BASE_RADIUS_M + 1e-9
            assert -np.pi <= yaw < np.pi
            for box in room.BOXES:
                nearest_x = np.clip(x, box.x - box.half_x, box.x + box.half_x)
                nearest_y = np.clip(y, box.y - box.half_y, box.y + box.half_y)
                assert np.hypot(x - nearest_x, y - nearest_y) >= robot.BASE_RADIUS_M - 1e-9
            for pillar in room.PILLARS:
                assert np.hypot(x - pillar.x, y - pillar.y) >= pillar.radius + robot.BASE_RADIUS_M - 1e-9


def test_at_a_wall_the_wheels_slip_and_the_robot_can_still_turn() -> None:
    state = still(3.0, 3.0, 0.0)
    for _ in range(120):
        state = advance(state, moving(0.5, 0.0))
    touching = room.HALF_SIZE_M - robot.BASE_RADIUS_M
    assert touching - 0.5 / FRAME_RATE_HZ < state.base_pose[0] <= touching
    assert state.action[LINEAR_VELOCITY] == np.float32(0.5)

    turned = state
    for _ in range(30):
        turned = advance(turned, moving(0.0, 0.6))
    assert turned.base_pose[2] > 0.3
    assert turned.action[ANGULAR_VELOCITY] == np.float32(0.6)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (np.zeros(24, np.float32), r"\(24,\)"),
        (np.zeros((17, 25), np.float32), r"\(17, 25\)"),
        (np.full(25, np.nan, np.float32), "finite"),
        (moving(np.inf, 0.0), r"indices \[23\]"),
    ],
)
def test_bad_actions_are_refused_with_what_was_wrong(action: Float32Array, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        advance(still(*OPEN_SPOT, 0.0), action)


@given(angle=st.floats(-100, 100))
def test_wrapped_angles_point_the_same_way(angle: float) -> None:
    wrapped = wrap_angle(angle)
    assert -np.pi <= wrapped < np.pi
    assert np.cos(wrapped) == pytest.approx(np.cos(angle), abs=1e-9)
    assert np.sin(wrapped) == pytest.approx(np.sin(angle), abs=1e-9)
