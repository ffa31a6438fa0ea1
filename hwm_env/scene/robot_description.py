"""Reads the chain of joints from base to camera out of a robot description: MJCF."""

from collections.abc import Iterator, Mapping
from typing import Final
from xml.etree import ElementTree

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.scene.camera import CameraLink
from hwm_env.types import ACTION_NAMES, Float64Array

_CAMERA_AXES: Final = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""Our camera's axes (ahead, left, up), column by column, in the frame of MuJoCo's (right, up, back)."""


def links_from_mjcf(
    mjcf: str, camera: str, base: str, numbers: Mapping[str, str] | None = None
) -> tuple[CameraLink, ...]:
    """Reads a MuJoCo model.

    Angles are taken as the model's compiler says; joints of the base body itself are left out, since they are what the
    pose says.

    Args:
        mjcf: the model's XML, without includes or defaults that change joints.
        camera: name of the camera.
        base: name of the body whose pose is tracked.
        numbers: joint names of the model to names of `hwm_env.types.ACTION_NAMES`; None: they are the same. Joints that
            are not named stay at 0.

    Raises:
        InvalidInputError: the XML is broken, or has no such camera on a body below the base.
    """
    try:
        root = ElementTree.fromstring(mjcf)
    except ElementTree.ParseError as error:
        raise InvalidInputError(f"the robot description is not XML: {error}") from error
    compiler = root.find("compiler")
    in_degrees = compiler is None or compiler.get("angle", "degree") == "degree"
    for path in _paths(root.find("worldbody"), ()):
        for element in path[-1].findall("camera"):
            if element.get("name") == camera:
                names = [body.get("name") for body in path]
                if base not in names:
                    raise InvalidInputError(f"camera {camera!r} is on {names}, not below the base body {base!r}")
                bodies = path[names.index(base) + 1 :]
                known = {name: name for name in ACTION_NAMES} if numbers is None else dict(numbers)
                links = [link for body in bodies for link in _links_of_body(body, known, in_degrees)]
                rotation = _rotation(element, in_degrees) @ _CAMERA_AXES
                return (*links, _fixed(_vector(element.get("pos", "0 0 0")), rotation))
    raise InvalidInputError(f"the robot description has no camera {camera!r} on a body")


def _paths(
    parent: ElementTree.Element | None, above: tuple[ElementTree.Element, ...]
) -> Iterator[tuple[ElementTree.Element, ...]]:
    """Yields every body with all bodies above it, outermost first."""
    for body in () if parent is None else parent.findall("body"):
        path = (*above, body)
        yield path
        yield from _paths(body, path)


def _links_of_body(body: ElementTree.Element, numbers: Mapping[str, str], in_degrees: bool) -> Iterator[CameraLink]:
    yield _fixed(_vector(body.get("pos", "0 0 0")), _rotation(body, in_degrees))
    for joint in body.findall("joint"):
        kind, number = joint.get("type", "hinge"), numbers.get(joint.get("name", ""))
        if kind not in ("hinge", "slide"):
            raise InvalidInputError(f"joint {joint.get('name')!r} is a {kind}; expected 'hinge' or 'slide'")
        if number is None:
            continue
        anchor = _vector(joint.get("pos", "0 0 0"))
        axis = _vector(joint.get("axis", "0 0 1"))
        unit = axis / np.linalg.norm(axis)
        yield CameraLink(offset_m=_triple(anchor), number=number, axis=_triple(unit), slides=kind == "slide")
        if anchor.any():
            yield CameraLink(offset_m=_triple(-anchor))


def _fixed(offset_m: Float64Array, rotation: Float64Array) -> CameraLink:
    return CameraLink(offset_m=_triple(offset_m), rotation=tuple(rotation.flatten().tolist()))


def _rotation(element: ElementTree.Element, in_degrees: bool) -> Float64Array:
    """Reads the orientation of a body or camera."""
    if (text := element.get("xyaxes")) is not None:
        x, y = _vector(text, 6).reshape(2, 3)
        x = x / np.linalg.norm(x)
        y = y - x * (x @ y)
        y = y / np.linalg.norm(y)
        return np.stack([x, y, np.cross(x, y)], axis=1)
    if (text := element.get("quat")) is not None:
        w, x, y, z = _vector(text, 4) / np.linalg.norm(_vector(text, 4))
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
    if (text := element.get("euler")) is not None:
        angles = _vector(text) * (np.pi / 180 if in_degrees else 1.0)
        return _around(0, angles[0]) @ _around(1, angles[1]) @ _around(2, angles[2])
    for name in ("axisangle", "zaxis"):
        if element.get(name) is not None:
            raise InvalidInputError(f"{element.get('name')!r} has {name}; expected xyaxes, quat or euler")
    return np.eye(3)


def _around(axis: int, angle_rad: float) -> Float64Array:
    """Returns the rotation around a coordinate axis."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = cos
    rotation[first, second], rotation[second, first] = -sin, sin
    return rotation


def _vector(text: str, size: int = 3) -> Float64Array:
    values = np.array(text.split(), np.float64)
    if values.shape != (size,):
        raise InvalidInputError(f"the robot description has {text!r} where {size} numbers were expected")
    return values


def _triple(vector: Float64Array) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return (x, y, z)
