"""Robots: what they carry in the 25 numbers, and what they are called in files."""

import json
from typing import Any

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.robot import EVE, Robot
from hwm_env.types import ACTION_NAMES
from tests.arm import ARM, COLUMNS


def test_the_joints_of_a_robot_and_the_numbers_that_carry_them() -> None:
    assert ARM.indices == COLUMNS
    assert [ACTION_NAMES[index] for index in COLUMNS] == [joint.number for joint in ARM.joints]
    assert ARM.names_of_numbers[8] == ARM.name_of("left_shoulder_yaw") == "shoulder_pan.pos"
    assert ARM.names_of_numbers[0] == ARM.name_of("hip_yaw") == "hip_yaw"
    assert len(ARM.unused) == 19
    assert set(ARM.unused).isdisjoint(joint.number for joint in ARM.joints)
    low, high = ARM.limits()
    np.testing.assert_array_equal(low[COLUMNS], np.array([0, -1.92, -1.75, -1.69, -1.66, np.nan], np.float32))
    np.testing.assert_array_equal(high[COLUMNS], np.array([1, 1.92, 1.75, 1.69, 1.66, np.nan], np.float32))
    assert np.isnan(np.delete(low, COLUMNS)).all()


def test_eve_has_the_25_numbers() -> None:
    assert EVE.names == EVE.names_of_numbers == ACTION_NAMES
    assert EVE.indices == list(range(25))
    assert EVE.unused == ()
    assert np.isnan(EVE.limits()).all()


@pytest.mark.parametrize("robot", [EVE, ARM])
def test_robots_survive_files(robot: Robot) -> None:
    assert Robot.read(json.loads(json.dumps(robot.to_json()))) == robot


PAN = {"name": "pan", "number": "neck_pitch"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("arm", 'an object with "name" and "joints", got \'arm\''),
        ({"name": "arm"}, "an object with"),
        ({"name": 3, "joints": [PAN]}, "name must be a text, got 3"),
        ({"name": "arm", "joints": "pan"}, "joints must be a list of objects, got 'pan'"),
        ({"name": "arm", "joints": []}, "joints must be 1 or more items"),
        ({"name": "arm", "joints": [{"name": "pan"}]}, r"missing fields \['number'\]"),
        ({"name": "arm", "joints": [{**PAN, "unit": "rad"}]}, r"unknown fields \['unit'\]"),
        ({"name": "arm", "joints": [{**PAN, "number": "tail"}]}, "number must be one of hip_yaw, .*, got 'tail'"),
        ({"name": "arm", "joints": [{**PAN, "low": 0.0}]}, "'pan': low must be below high.*got 0.0 and None"),
        ({"name": "arm", "joints": [{**PAN, "low": 1.0, "high": 1.0}]}, "'pan': low must be below high"),
        ({"name": "arm", "joints": [{**PAN, "low": float("nan"), "high": 1.0}]}, "low must be a finite number"),
        ({"name": "arm", "joints": [{**PAN, "name": "hip_yaw"}]}, "'hip_yaw' has the name of one of the 25 numbers"),
        ({"name": "arm", "joints": [PAN, {**PAN, "number": "hip_yaw"}]}, "its own name, but several have 'pan'"),
        ({"name": "arm", "joints": [PAN, {**PAN, "name": "tilt"}]}, "its own number, but several have 'neck_pitch'"),
    ],
)
def test_bad_robots_are_refused(content: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"robot: .*{message}"):
        Robot.read(content)
