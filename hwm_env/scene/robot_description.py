"""Reads chains of joints from the base to the camera or to a hand from a robot description (MJCF or URDF)."""

import os
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

from hwm_env.data.files import check_file
from hwm_env.errors import InvalidInputError
from hwm_env.robot import Robot
from hwm_env.scene.camera import CameraDescription, CameraLink
from hwm_env.scene.mjcf import camera_of_mjcf, limb_of_mjcf
from hwm_env.scene.robot_xml import MAX_BYTES, parsed
from hwm_env.scene.urdf import limb_of_urdf, links_of_urdf


def read_camera(
    path: str | os.PathLike[str], camera: str, base: str, numbers: Mapping[str, str] | None = None
) -> CameraDescription:
    """Reads a camera from a file: MJCF if its root is <mujoco>, URDF if it is <robot>.

    Args:
        path: path of the file.
        camera: name of the camera (MJCF) or of the camera's link (URDF), see `links_from_urdf`.
        base: name of the body (MJCF) or link (URDF) whose pose is tracked.
        numbers: maps the robot's joint names to `hwm_env.types.ACTION_NAMES`; `None`: they are the same. Joints that
            are not named keep their position in the description.

    Raises:
        InvalidInputError: the file cannot be read, is neither MJCF nor URDF, or has no such camera below the base.
    """
    root = _root_of(path)
    try:
        if root.tag == "mujoco":
            return camera_of_mjcf(root, camera, base, numbers)
        return CameraDescription(links=links_of_urdf(root, camera, base, numbers))
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


def numbers_of(path: str | os.PathLike[str], robot: Robot) -> dict[str, str]:
    """Returns the numbers that carry the joints of a file, by the names that both the file and the robot have.

    Raises:
        InvalidInputError: the file cannot be read, or is neither MJCF nor URDF.
    """
    in_file = {joint.get("name") for joint in _root_of(path).iter("joint")}
    return {joint.name: joint.number for joint in robot.joints if joint.name in in_file}


def read_limb(
    path: str | os.PathLike[str], end: str, base: str, numbers: Mapping[str, str] | None = None
) -> tuple[CameraLink, ...]:
    """Reads the chain from the base to the end of a limb, such as a hand.

    Args:
        path: path of the file, MJCF or URDF.
        end: name of the body (MJCF) or link (URDF) at the end of the limb.
        base: name of the body or link whose pose is tracked.
        numbers: see `read_camera`.

    Raises:
        InvalidInputError: the file cannot be read, is neither MJCF nor URDF, or has no such chain.
    """
    root = _root_of(path)
    try:
        return (limb_of_mjcf if root.tag == "mujoco" else limb_of_urdf)(root, end, base, numbers)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


def limb_from_mjcf(
    mjcf: str | bytes, end: str, base: str, numbers: Mapping[str, str] | None = None
) -> tuple[CameraLink, ...]:
    """Reads a limb from the text of a MuJoCo model; arguments and errors as for `read_limb`."""
    return limb_of_mjcf(parsed(mjcf, "mujoco"), end, base, numbers)


def links_from_mjcf(
    mjcf: str | bytes, camera: str, base: str, numbers: Mapping[str, str] | None = None
) -> tuple[CameraLink, ...]:
    """Reads a camera's chain from the text of a MuJoCo model; arguments and errors as for `read_camera`."""
    return camera_of_mjcf(parsed(mjcf, "mujoco"), camera, base, numbers).links


def links_from_urdf(
    urdf: str | bytes,
    camera_link: str,
    base_link: str,
    numbers: Mapping[str, str] | None = None,
    optical: bool | None = None,
) -> tuple[CameraLink, ...]:
    """Reads a camera's chain from the text of a URDF.

    Args:
        urdf: the text; xacro files must be expanded first.
        camera_link: name of the camera's link.
        base_link: name of the link whose pose is tracked.
        numbers: see `read_camera`.
        optical: whether the camera link's z points ahead, x right and y down, instead of x ahead, y left and z up;
            `None`: if its name ends in "_optical_frame" or "_optical", as in ROS (REP 103).

    Raises:
        InvalidInputError: see `read_camera`; or the chain has a mimicking joint that is not in `numbers`.
    """
    return links_of_urdf(parsed(urdf, "robot"), camera_link, base_link, numbers, optical)


def _root_of(path: str | os.PathLike[str]) -> Element:
    """Parses a file whose root is <mujoco> or <robot>."""
    check_file(Path(path), InvalidInputError, "give the path of an MJCF or URDF file")
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(
            f"{path}: the robot description cannot be read ({error.strerror}); give the path of an MJCF or URDF file"
        ) from error
    try:
        return parsed(text, "mujoco", "robot")
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error
