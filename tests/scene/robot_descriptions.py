"""Small robot descriptions, and places in them by MuJoCo and by links."""

from collections.abc import Sequence

import mujoco
import torch

from hwm_env.scene.camera import CameraLink, KinematicCamera
from hwm_env.types import ACTION_NAMES, Float64Array

GEOM = '<geom size="0.1"/>'


def words(*values: float) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def mjcf(inside: str = '<camera name="eye"/>', outside: str = "") -> str:
    return (
        f'<mujoco>{outside}<worldbody><body name="base"><body name="head">{inside}</body></body></worldbody></mujoco>'
    )


def urdf(joint: str = 'type="fixed"', camera: str = "eye", inside: str = "", more: str = "") -> str:
    ends = f'<parent link="base"/><child link="{camera}"/>'
    return (
        f'<robot name="r"><link name="base"/><link name="{camera}"/><joint name="neck" {joint}>{ends}{inside}</joint>'
        f"{more}</robot>"
    )


def by_mujoco(model: mujoco.MjModel, values: dict[str, float]) -> mujoco.MjData:
    data = mujoco.MjData(model)
    for joint, value in values.items():
        data.joint(joint).qpos[0] = value
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)
    return data


def in_base(data: mujoco.MjData, base: str, place: Float64Array, rotation: Float64Array) -> tuple[Float64Array, ...]:
    frame = data.body(base).xmat.reshape(3, 3)
    return frame.T @ (place - data.body(base).xpos), frame.T @ rotation


def by_links(links: Sequence[CameraLink], values: dict[str, float]) -> tuple[Float64Array, ...]:
    numbers = torch.zeros(len(ACTION_NAMES), dtype=torch.float64)
    for name, value in values.items():
        numbers[ACTION_NAMES.index(name)] = value
    place, rotation = KinematicCamera(links)(numbers)
    return place.numpy(), rotation.numpy()
