"""The compiled MuJoCo model against the facts it was written from; needs no OpenGL."""

from functools import cache

import mujoco
import numpy as np
import pytest

from hwm_env.reference import robot, room
from hwm_env.reference.mujoco_model import mujoco_xml
from hwm_env.types import ACTION_NAMES, NUM_JOINTS


@cache
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(mujoco_xml())


def placed(**angles_rad: float) -> mujoco.MjData:
    data = mujoco.MjData(model())
    for name, angle in angles_rad.items():
        data.joint(name).qpos[0] = angle
    mujoco.mj_kinematics(model(), data)
    mujoco.mj_camlight(model(), data)
    return data


def test_every_action_joint_is_in_the_model_with_its_limits() -> None:
    ours = ("base_", "_finger")
    names = {model().joint(index).name for index in range(model().njnt)}
    assert {name for name in names if not any(word in name for word in ours)} == set(ACTION_NAMES[:NUM_JOINTS])
    for name, limits in zip(ACTION_NAMES[:NUM_JOINTS], robot.JOINT_LIMITS_RAD, strict=True):
        np.testing.assert_allclose(model().joint(name).range, limits, rtol=1e-5)


def test_the_leg_column_is_ordered_from_the_base_up() -> None:
    leg = ("ankle_pitch", "ankle_roll", "knee_pitch", "hip_pitch", "hip_roll", "hip_yaw", "neck_pitch")
    positions = [model().joint(name).id for name in leg[:-1]]
    assert positions == sorted(positions)
    heights = [placed().joint(name).xanchor[2] for name in leg]
    assert heights == sorted(heights)


def test_the_camera_sees_ninety_degrees_from_the_height_of_a_head() -> None:
    camera = model().camera("head")
    assert camera.fovy[0] == robot.CAMERA_FOV_DEG == 90.0
    assert placed().camera("head").xpos[2] == pytest.approx(1.35, abs=0.03)


@pytest.mark.parametrize("side", ["left", "right"])
def test_arms_rise_forward_on_their_own_side(side: str) -> None:
    sign = 1 if side == "left" else -1
    hanging, raised = placed(), placed(**{f"{side}_shoulder_pitch": np.pi / 2})
    hand = f"{side}_hand"
    assert hanging.body(hand).xpos[2] < 0.75
    assert raised.body(hand).xpos[2] > 1.1
    assert raised.body(hand).xpos[0] > 0.35
    assert sign * raised.body(hand).xpos[1] > 0.1
    spread = placed(**{f"{side}_shoulder_roll": 0.8})
    assert sign * spread.body(hand).xpos[1] > sign * hanging.body(hand).xpos[1] + 0.2


def test_equal_angles_are_mirror_images() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        angles = {
            name: rng.uniform(*robot.JOINT_LIMITS_RAD[index])
            for index, name in enumerate(ACTION_NAMES[:NUM_JOINTS])
            if name.startswith("left_")
        }
        data = placed(**angles, **{name.replace("left", "right"): value for name, value in angles.items()})
        left, right = data.body("left_hand").xpos, data.body("right_hand").xpos
        np.testing.assert_allclose(left * [1, -1, 1], right, atol=1e-6)


def test_crouching_lowers_the_head_and_keeps_it_level() -> None:
    crouched = placed(ankle_pitch=0.4, knee_pitch=0.8, hip_pitch=0.4).camera("head")
    upright = placed().camera("head")
    assert crouched.xpos[2] < upright.xpos[2] - 0.04
    np.testing.assert_allclose(crouched.xmat, upright.xmat, atol=1e-6)


def test_rays_hit_furniture_where_collisions_say_it_is() -> None:
    data = placed(base_x=100.0)
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    # The heights of sofa, shelf and pillars, and of the table's top.
    heights = (0.3, room.TABLE.height - 0.03)
    checked = 0
    while checked < 40:
        xy = rng.uniform(-room.HALF_SIZE_M, room.HALF_SIZE_M, 2)
        claimed = float(room.obstacle_distance(xy))
        if claimed <= 0.15:
            continue
        hits = [
            mujoco.mj_ray(
                model(), data, [*xy, height], [np.cos(angle), np.sin(angle), 0], None, 1, -1, np.zeros(1, np.int32)
            )
            for height in heights
            for angle in angles
        ]
        # Doors, pictures and curtains stand out from the walls by up to 6 cm.
        assert min(hits) == pytest.approx(claimed, abs=0.07), xy
        checked += 1
