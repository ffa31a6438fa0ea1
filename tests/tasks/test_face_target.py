import math

import numpy as np
import pytest

from hwm_env.reference import room
from hwm_env.tasks.face_target import FaceTarget, FaceTargetGoal
from tests.tasks.playing import begin, moment_at

WINDOW = FaceTargetGoal(landmark="window", x_m=0.0, y_m=4.0)


@pytest.mark.parametrize(
    ("yaw_deg", "turn_deg"), [(90, 0), (0, 90), (180, 90), (-90, 180), (80.1, 9.9), (101, 11), (-181, 89), (450, 0)]
)
def test_how_far_the_base_must_turn(yaw_deg: float, turn_deg: float) -> None:
    moment = moment_at(0.0, 0.0, math.radians(yaw_deg))
    assert math.degrees(WINDOW.turn_rad(moment)) == pytest.approx(turn_deg, abs=1e-3)
    outcome = WINDOW.evaluate(moment_at(0.0, 0.0, math.radians(-60)), moment, 1)
    assert outcome.success == outcome.terminated == (turn_deg < 10)
    assert outcome.reward_terms["progress"] == pytest.approx(math.radians(150 - turn_deg), abs=1e-5)


def test_what_is_observed() -> None:
    observed = WINDOW.observe(moment_at(2.0, 4.0, math.pi / 2))
    assert observed.dtype == np.float32
    np.testing.assert_allclose(observed, [0, 1, 0.5], atol=1e-6)


def test_random_landmarks_are_aside() -> None:
    for seed in range(50):
        goal = begin(FaceTarget(), moment_at(0.0, 0.0, 0.0), seed)
        assert abs(math.atan2(goal.y_m, goal.x_m)) >= math.radians(60)


def test_a_named_landmark_may_be_ahead_already() -> None:
    goal = begin(FaceTarget(), moment_at(0.0, -1.6, 0.0), target="door")
    assert (goal.x_m, goal.y_m) == room.LANDMARKS["door"]
    assert goal.turn_rad(moment_at(0.0, -1.6, 0.0)) < 1e-6


def test_arms_legs_and_head_do_not_matter() -> None:
    bent = moment_at(0.5, 0.3, 0.2, hip_yaw=0.5, neck_pitch=0.6, left_shoulder_pitch=1.5)
    assert WINDOW.turn_rad(bent) == WINDOW.turn_rad(moment_at(0.5, 0.3, 0.2))
