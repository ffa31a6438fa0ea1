import math

import numpy as np
import pytest

from hwm_env.tasks.base import TaskView, WorldReadout
from hwm_env.tasks.look_at import LookAt, LookAtGoal
from tests.tasks.playing import SeenMoment, begin, moment_at

BALL = LookAtGoal(landmark="ball", centre_m=(2.0, 0.0, 1.5))


def looking(azimuth_deg: float, elevation_deg: float) -> TaskView:
    """A camera 1.5 m above the middle of the room."""
    turn, tilt = math.radians(azimuth_deg), math.radians(elevation_deg)
    gaze = [math.cos(turn) * math.cos(tilt), math.sin(turn) * math.cos(tilt), math.sin(tilt)]
    readout = WorldReadout.from_vector([0, 0, 0, 0, 0, 1.5, *gaze, 0, 0, 0, 0, 0, 0])
    return SeenMoment(readout, np.zeros((17, 25), np.float32))


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg", "angle_deg"),
    [
        (0, 0, 0),
        (90, 0, 90),
        (-30, 0, 30),
        (180, 0, 180),
        (0, 40, 40),
        (0, -9.9, 9.9),
        (60, 45, math.degrees(math.acos(math.cos(math.pi / 3) * math.cos(math.pi / 4)))),
    ],
)
def test_angle_between_gaze_and_landmark(azimuth_deg: float, elevation_deg: float, angle_deg: float) -> None:
    moment = looking(azimuth_deg, elevation_deg)
    assert math.degrees(BALL.angle_rad(moment)) == pytest.approx(angle_deg, abs=1e-3)
    outcome = BALL.evaluate(looking(150, 0), moment, 1)
    assert outcome.success == outcome.terminated == (angle_deg < 10)
    assert outcome.reward_terms["progress"] == pytest.approx(math.radians(150 - angle_deg), abs=1e-5)


def test_what_is_observed_leads_to_the_landmark() -> None:
    np.testing.assert_allclose(BALL.observe(looking(0, 0)), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(BALL.observe(looking(-90, 0)), [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(BALL.observe(looking(90, -18)), [0, -1, 0.1], atol=1e-6)
    np.testing.assert_allclose(BALL.observe(looking(0, 18)), [1, 0, -0.1], atol=1e-6)
    assert BALL.observe(looking(0, 0)).dtype == np.float32


def test_it_is_the_camera_that_must_look_not_the_base() -> None:
    """The neck's pitch and the hip's yaw move the gaze of a base that stands still."""
    level = {"hip_pitch": 0.0, "knee_pitch": 0.0, "ankle_pitch": 0.0, "neck_pitch": 0.0}
    # 6 cm ahead of the neck, which stands 12 cm behind the middle of the base, and 1.36 m high.
    ahead = LookAtGoal(landmark="ball", centre_m=(3.0, 0.0, 1.36))
    assert ahead.angle_rad(moment_at(0, 0, 0, **level)) == pytest.approx(0.0, abs=1e-5)
    assert ahead.angle_rad(moment_at(0, 0, 0, **{**level, "hip_yaw": 0.3})) == pytest.approx(0.3, abs=0.01)
    assert ahead.angle_rad(moment_at(0, 0, 0, **{**level, "neck_pitch": 0.3})) == pytest.approx(0.3, abs=0.01)


def test_random_landmarks_are_out_of_sight() -> None:
    for seed in range(50):
        moment = moment_at(0.0, 0.0, 1.0)
        assert begin(LookAt(), moment, seed).angle_rad(moment) >= math.radians(45)
