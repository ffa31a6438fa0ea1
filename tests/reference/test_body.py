"""Our own kinematics against MuJoCo's."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from hwm_env.reference import robot
from hwm_env.reference.backend import mujoco
from hwm_env.reference.body import quantities
from hwm_env.reference.mujoco_model import CAMERA_NAME, FINGER_TRAVEL_M, finger_joints, mujoco_xml
from hwm_env.types import ACTION_NAMES, NUM_JOINTS


def random_moments(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    poses = rng.uniform([-4, -4, -np.pi], [4, 4, np.pi], (count, 3))
    return poses, rng.uniform(robot.ACTION_LOW, robot.ACTION_HIGH, (count, 25)).astype(np.float32)


@cache
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(mujoco_xml())


def by_mujoco(pose: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The same numbers from MuJoCo's forward kinematics; a hand's point is 12 cm beyond its wrist."""
    data = mujoco.MjData(model())
    for name, value in zip(("base_x", "base_y", "base_yaw"), pose, strict=True):
        data.joint(name).qpos[0] = value
    for name, value in zip(ACTION_NAMES[:NUM_JOINTS], numbers[:NUM_JOINTS], strict=True):
        data.joint(name).qpos[0] = value
    mujoco.mj_kinematics(model(), data)
    mujoco.mj_camlight(model(), data)
    camera = data.camera(CAMERA_NAME)
    hands = [data.body(f"{side}_hand") for side in ("left", "right")]
    points = [hand.xpos + hand.xmat.reshape(3, 3) @ [0.0, 0.0, -0.12] for hand in hands]
    return np.concatenate([pose, camera.xpos, -camera.xmat.reshape(3, 3)[:, 2], *points])


def test_it_agrees_with_mujoco() -> None:
    poses, numbers = random_moments(200)
    expected = [by_mujoco(pose, row) for pose, row in zip(poses, numbers, strict=True)]
    np.testing.assert_allclose(quantities(poses, numbers), expected, atol=1e-9)


@pytest.mark.parametrize("closure", [0.0, 0.3, 1.0])
def test_a_hand_is_between_its_fingertips_however_far_it_is_closed(closure: float) -> None:
    numbers = robot.pose({"left_shoulder_pitch": 1.0, "left_wrist_roll": 0.5, "left_hand_closure": closure})
    data = mujoco.MjData(model())
    for name, value in zip(ACTION_NAMES[:NUM_JOINTS], numbers[:NUM_JOINTS], strict=True):
        data.joint(name).qpos[0] = value
    for joint in finger_joints("left"):
        data.joint(joint).qpos[0] = FINGER_TRAVEL_M * (1 - closure)
    mujoco.mj_kinematics(model(), data)
    between = (data.body("left_inner").xpos + data.body("left_outer").xpos) / 2
    np.testing.assert_allclose(quantities(np.zeros((1, 3)), numbers[None])[0, 9:12], between, atol=1e-9)


def test_every_joint_counts_and_nothing_else() -> None:
    """Hands and wheels, whose numbers are no angles, move none of the quantities."""
    pose, bent = np.zeros((1, 3)), robot.pose({"left_wrist_pitch": 0.5, "right_wrist_pitch": 0.5})
    before = quantities(pose, bent[None])
    for index, name in enumerate(ACTION_NAMES):
        changed = bent.copy()
        changed[index] += 0.1
        assert (np.abs(quantities(pose, changed[None]) - before).max() > 1e-3) == (index < NUM_JOINTS), name


def test_moving_the_base_moves_everything_with_it() -> None:
    _, numbers = random_moments(20)
    here = quantities(np.zeros((20, 3)), numbers)
    turn, x, y = 0.7, 1.5, -2.0
    there = quantities(np.tile([x, y, turn], (20, 1)), numbers)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    for first in (3, 9, 12):
        expected = here[:, first : first + 3] @ rotation.T + [x, y, 0]
        np.testing.assert_allclose(there[:, first : first + 3], expected, atol=1e-12)
    np.testing.assert_allclose(there[:, 6:9], here[:, 6:9] @ rotation.T, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(there[:, 6:9], axis=1), 1.0, atol=1e-12)


def test_it_needs_no_mujoco() -> None:
    code = "import sys; import hwm_env.reference.body; print('mujoco' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
