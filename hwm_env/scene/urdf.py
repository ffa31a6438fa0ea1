"""Reads chains of joints from the base to a camera or limb from a URDF."""

from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.scene.camera import CameraLink
from hwm_env.scene.robot_xml import camera_link, listed, numbers_of_joints, pose, turn, vector
from hwm_env.types import Float64Array

_OPTICAL_AXES: Final = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""Our camera axes (ahead, left, up), column by column, in ROS' optical frame (right, down, ahead)."""
_OPTICAL_SUFFIXES: Final = ("_optical_frame", "_optical")
_MOVING: Final = ("revolute", "continuous", "prismatic")


def links_of_urdf(
    root: Element,
    camera_link_name: str,
    base_link: str,
    numbers: Mapping[str, str] | None = None,
    optical: bool | None = None,
) -> tuple[CameraLink, ...]:
    """Reads the chain to a camera's link; see `hwm_env.scene.robot_description.links_from_urdf`.

    Raises:
        InvalidInputError: there is no such chain, or it is not supported.
    """
    if optical is None:
        optical = camera_link_name.endswith(_OPTICAL_SUFFIXES)
    at_camera = pose(rotation=_OPTICAL_AXES) if optical else pose()
    return (*limb_of_urdf(root, camera_link_name, base_link, numbers), camera_link(at_camera))


def limb_of_urdf(
    root: Element, end: str, base_link: str, numbers: Mapping[str, str] | None = None
) -> tuple[CameraLink, ...]:
    """Reads the chain to any link; see `hwm_env.scene.robot_description.read_limb`.

    Raises:
        InvalidInputError: there is no such chain, or it is not supported.
    """
    if any("xacro" in element.tag for element in root.iter()):
        raise InvalidInputError("the robot description contains xacro macros; expand it with xacro first")
    known = numbers_of_joints(numbers, [joint.get("name", "") for joint in root.findall("joint")])
    return tuple(_link_of_joint(joint, known) for joint in _joints_to(root, end, base_link))


def _joints_to(root: Element, end: str, base_link: str) -> list[Element]:
    """Returns the joints from the base to a link, in this order."""
    names = [link.get("name", "") for link in root.findall("link")]
    for name in (end, base_link):
        if name not in names:
            raise InvalidInputError(f"the robot description has no link {name!r}; it has {listed(names)}")
    joint_above: dict[str, Element] = {}
    for joint in root.findall("joint"):
        child = _end(joint, "child")
        if child in joint_above:
            raise InvalidInputError(f"link {child!r} is the child of more than one joint; expected a tree")
        joint_above[child] = joint
    joints: list[Element] = []
    passed = [end]
    while passed[-1] != base_link:
        above = joint_above.pop(passed[-1], None)
        if above is None:
            raise InvalidInputError(f"link {end!r} is not below {base_link!r} but below {listed(passed[1:])}")
        joints.insert(0, above)
        passed.append(_end(above, "parent"))
    return joints


def _end(joint: Element, side: str) -> str:
    element = joint.find(side)
    if element is None or element.get("link") is None:
        raise InvalidInputError(f"joint {joint.get('name')!r} has no {side} link")
    return element.get("link", "")


def _link_of_joint(joint: Element, numbers: Mapping[str, str]) -> CameraLink:
    name, kind = joint.get("name", ""), joint.get("type", "")
    at = _pose_of_origin(joint.find("origin"))
    if kind == "fixed":
        return camera_link(at)
    if kind not in _MOVING:
        raise InvalidInputError(f"joint {name!r} is {kind or 'of no type'}; expected fixed, {', '.join(_MOVING)}")
    if name not in numbers and joint.find("mimic") is not None:
        raise InvalidInputError(f"joint {name!r} mimics another; name the number that moves it in `numbers`")
    axis = joint.find("axis")
    xyz = "1 0 0" if axis is None else axis.get("xyz", "1 0 0")
    return camera_link(at, numbers.get(name), vector(xyz), slides=kind == "prismatic")


def _pose_of_origin(origin: Element | None) -> Float64Array:
    if origin is None:
        return pose()
    roll, pitch, yaw = vector(origin.get("rpy", "0 0 0"))
    x, y, z = np.eye(3)
    return pose(vector(origin.get("xyz", "0 0 0")), turn(z, yaw) @ turn(y, pitch) @ turn(x, roll))
