"""Reads chains of joints from the base to a camera or limb from a MuJoCo model (MJCF)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.scene.camera import CameraDescription, CameraLink
from hwm_env.scene.robot_xml import camera_link, listed, numbers_of_joints, pose, turn, unit, vector
from hwm_env.types import Float64Array

_CAMERA_AXES: Final = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""Our camera axes (ahead, left, up), column by column, in MuJoCo's camera frame (right, up, back)."""
_ORIENTATIONS: Final = frozenset({"quat", "axisangle", "xyaxes", "zaxis", "euler"})
_WORLD: Final = "world"
_ALMOST_0: Final = 1e-10

_Attributes = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Part:
    """An element of a body."""

    element: Element
    frame: Float64Array
    """Pose in the body of the <frame>s around it."""
    default_class: str
    """Default class of joints and cameras that name none."""


def camera_of_mjcf(
    root: Element, camera: str, base: str, numbers: Mapping[str, str] | None = None
) -> CameraDescription:
    """Reads a camera of a MuJoCo model; see `hwm_env.scene.robot_description.read_camera`.

    Joints of the base body itself are left out, since the pose of the base includes them.

    Raises:
        InvalidInputError: there is no such camera below the base, or it is not supported.
    """
    model = _Model(root, numbers)
    cameras = {part.element.get("name"): (path, part) for path, part in model.elements("camera")}
    if camera not in cameras:
        raise InvalidInputError(
            f"the robot description has no camera {camera!r}; it has {listed([name for name in cameras if name])}"
        )
    path, part = cameras[camera]
    attributes = model.attributes(part)
    if attributes.get("mode", "fixed") != "fixed":
        raise InvalidInputError(f"camera {camera!r} has the mode {attributes['mode']!r}; expected 'fixed' to its body")
    links = _links_below(model, path, base, f"camera {camera!r}")
    at = part.frame @ model.pose_of(attributes) @ pose(rotation=_CAMERA_AXES)
    return CameraDescription(links=(*links, camera_link(at)), field_of_view_deg=_field_of_view_deg(attributes))


def limb_of_mjcf(
    root: Element, end: str, base: str, numbers: Mapping[str, str] | None = None
) -> tuple[CameraLink, ...]:
    """Reads the chain to a body of a MuJoCo model; see `hwm_env.scene.robot_description.read_limb`.

    Raises:
        InvalidInputError: there is no such body below the base, or it is not supported.
    """
    model = _Model(root, numbers)
    bodies = {part.element.get("name"): (*path, part) for path, part in model.elements("body")}
    if end not in bodies:
        raise InvalidInputError(
            f"the robot description has no body {end!r}; it has {listed([name for name in bodies if name])}"
        )
    return tuple(_links_below(model, bodies[end], base, f"body {end!r}"))


def _links_below(model: "_Model", path: tuple[_Part, ...], base: str, what: str) -> list[CameraLink]:
    """Returns the links of the bodies after the base on a path that starts at the worldbody."""
    names = [_WORLD, *(body.element.get("name", "") for body in path[1:])]
    if base not in names:
        raise InvalidInputError(f"{what} is not below the body {base!r} but below {listed(names)}")
    return [link for body in path[names.index(base) + 1 :] for link in model.links_of_body(body)]


class _Model:
    """A parsed MuJoCo model: its elements, defaults and compiler options."""

    def __init__(self, root: Element, numbers: Mapping[str, str] | None) -> None:
        if root.find(".//include") is not None:
            raise InvalidInputError(
                "the robot description includes other files; save it as one file with MuJoCo (mj_saveLastXML)"
            )
        self._worlds = root.findall("worldbody")
        joints = [joint.get("name", "") for world in self._worlds for joint in world.iter("joint")]
        self._numbers = numbers_of_joints(numbers, joints)
        compiler = {name: value for element in root.findall("compiler") for name, value in element.items()}
        self._angle_unit = math.pi / 180 if compiler.get("angle", "degree") == "degree" else 1.0
        self._euler_sequence = compiler.get("eulerseq", "xyz")
        if len(self._euler_sequence) != 3 or set(self._euler_sequence) - set("xyzXYZ"):
            raise InvalidInputError(f"eulerseq must be three of x, y, z, X, Y and Z, got {self._euler_sequence!r}")
        if compiler.get("coordinate", "local") != "local":
            raise InvalidInputError("the robot description has global coordinates; save it with MuJoCo 2.3.3 or older")
        self._defaults: dict[str, dict[str, _Attributes]] = {"main": {"joint": {}, "camera": {}}}
        for section in root.findall("default"):
            self._add_defaults(section, self._defaults["main"])

    def _add_defaults(self, section: Element, inherited: Mapping[str, _Attributes]) -> None:
        own = {tag: _overlaid(attributes, section.find(tag)) for tag, attributes in inherited.items()}
        self._defaults[section.get("class", "main")] = own
        for nested in section.findall("default"):
            self._add_defaults(nested, own)

    def elements(self, tag: str) -> Iterator[tuple[tuple[_Part, ...], _Part]]:
        """Yields the elements with a tag and all bodies above them, the worldbody first."""
        for world in self._worlds:
            yield from self._below((_Part(world, pose(), "main"),), tag)

    def _below(self, path: tuple[_Part, ...], tag: str) -> Iterator[tuple[tuple[_Part, ...], _Part]]:
        for part in self._parts(path[-1]):
            if part.element.tag == tag:
                yield path, part
            if part.element.tag == "body":
                yield from self._below((*path, part), tag)

    def _parts(self, parent: _Part) -> Iterator[_Part]:
        """Yields the elements of a body, including those in its frames."""
        default_class = parent.element.get("childclass", parent.default_class)
        around = parent.frame if parent.element.tag == "frame" else pose()
        for element in parent.element:
            if element.tag == "frame":
                yield from self._parts(_Part(element, around @ self.pose_of(element.attrib), default_class))
            else:
                yield _Part(element, around, default_class)

    def attributes(self, part: _Part) -> _Attributes:
        """Returns the attributes of a joint or camera, including its defaults."""
        name = part.element.get("class", part.default_class)
        if name not in self._defaults:
            raise InvalidInputError(
                f"the robot description has no default class {name!r}; it has {listed(self._defaults)}"
            )
        return _overlaid(self._defaults[name][part.element.tag], part.element)

    def pose_of(self, attributes: _Attributes) -> Float64Array:
        """Returns the pose of a body, frame or camera in its parent."""
        return pose(vector(attributes.get("pos", "0 0 0")), self._rotation(attributes))

    def _rotation(self, attributes: _Attributes) -> Float64Array:
        if (text := attributes.get("quat")) is not None:
            w, *imaginary = unit(vector(text, 4)).tolist()
            length = math.hypot(*imaginary)
            return turn(np.array(imaginary), 2 * math.atan2(length, w)) if length > _ALMOST_0 else np.eye(3)
        if (text := attributes.get("axisangle")) is not None:
            *axis, angle = vector(text, 4).tolist()
            return turn(np.array(axis), angle * self._angle_unit)
        if (text := attributes.get("xyaxes")) is not None:
            x, y = vector(text, 6).reshape(2, 3)
            x = unit(x)
            y = unit(y - x * (x @ y))
            return np.stack([x, y, np.cross(x, y)], axis=1)
        if (text := attributes.get("zaxis")) is not None:
            z = unit(vector(text))
            axis = np.array([-z[1], z[0], 0.0])
            length = math.hypot(*axis)
            return turn(axis if length > _ALMOST_0 else np.array([1.0, 0.0, 0.0]), math.atan2(length, z[2]))
        rotation = np.eye(3)
        for letter, angle in zip(self._euler_sequence, vector(attributes.get("euler", "0 0 0")), strict=True):
            turned = turn(np.eye(3)["xyz".index(letter.lower())], angle * self._angle_unit)
            rotation = rotation @ turned if letter.islower() else turned @ rotation
        return rotation

    def links_of_body(self, body: _Part) -> Iterator[CameraLink]:
        """Yields a body's link in its parent, then the links of its joints."""
        yield camera_link(body.frame @ self.pose_of(body.element.attrib))
        for part in self._parts(body):
            if part.element.tag in ("joint", "freejoint"):
                yield from self._links_of_joint(part)

    def _links_of_joint(self, part: _Part) -> Iterator[CameraLink]:
        name, is_free = part.element.get("name", ""), part.element.tag == "freejoint"
        attributes: _Attributes = {"type": "free"} if is_free else self.attributes(part)
        kind, number = attributes.get("type", "hinge"), self._numbers.get(name)
        if kind not in ("hinge", "slide"):
            raise InvalidInputError(f"joint {name!r} is a {kind} joint; expected 'hinge' or 'slide'")
        if number is None:
            return
        axis = part.frame[:3, :3] @ unit(vector(attributes.get("axis", "0 0 1")))
        reference = vector(attributes.get("ref", "0"), 1).item()
        if kind == "slide":
            yield camera_link(pose(-reference * axis), number, axis, slides=True)
            return
        anchor = part.frame[:3, :3] @ vector(attributes.get("pos", "0 0 0")) + part.frame[:3, 3]
        yield camera_link(pose(anchor, turn(axis, -reference * self._angle_unit)), number, axis)
        if anchor.any():
            yield camera_link(pose(-anchor))


def _overlaid(inherited: _Attributes, element: Element | None) -> _Attributes:
    """Returns the inherited attributes, overridden by an element's own; any orientation replaces the inherited one."""
    own = {} if element is None else element.attrib
    if own.keys() & _ORIENTATIONS:
        inherited = {name: value for name, value in inherited.items() if name not in _ORIENTATIONS}
    return {**inherited, **own}


def _field_of_view_deg(attributes: _Attributes) -> float | None:
    """Returns the vertical field of view of a perspective camera; `None` for other cameras."""
    if attributes.get("projection", "perspective") != "perspective" or attributes.get("orthographic") == "true":
        return None
    if "sensorsize" not in attributes:
        return float(vector(attributes.get("fovy", "45"), 1).item())
    if "focalpixel" in attributes:
        height, focal = vector(attributes.get("resolution", "1 1"), 2)[1], vector(attributes["focalpixel"], 2)[1]
    else:
        height, focal = vector(attributes["sensorsize"], 2)[1], vector(attributes.get("focal", "0 0"), 2)[1]
    return math.degrees(2 * math.atan2(height / 2, focal))
