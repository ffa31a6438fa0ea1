"""Shared helpers of the readers of robot descriptions: XML, vectors in it, and poses as 4 x 4 matrices."""

import math
from collections.abc import Collection, Mapping
from typing import Final
from xml.etree import ElementTree

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.scene.camera import CameraLink
from hwm_env.types import ACTION_NAMES, Float64Array

MAX_BYTES: Final = 4 * 2**20
"""Largest size of a robot description; meshes are separate files."""
MAX_DEPTH: Final = 200
"""Most levels of nested elements; a body in a body is one more level."""
_MAX_LISTED: Final = 30
_MAX_NUMBER: Final = 1e10
_SMALLEST_NORM: Final = 1e-10


class _Builder(ElementTree.TreeBuilder):
    """Refuses deeply nested elements and entity declarations before they cost memory or time."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ElementTree.Element:
        """Enters an element."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidInputError(
                f"the robot description has more than {MAX_DEPTH} levels of nested elements; use fewer"
            )
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        """Leaves an element."""
        self._depth -= 1
        return super().end(tag)

    def doctype(self, *_: object) -> None:
        """Refuses a DOCTYPE."""
        raise InvalidInputError("the robot description has a DOCTYPE, which may declare entities; remove it")


def parsed(text: str | bytes, *tags: str) -> ElementTree.Element:
    """Parses XML whose root must have one of the tags.

    Raises:
        InvalidInputError: the text is not XML, too large or too deep, or has a DOCTYPE or another root.
    """
    if len(text) > MAX_BYTES:
        raise InvalidInputError(
            f"a robot description may have {MAX_BYTES} bytes, but this one has more; keep meshes in separate files"
        )
    try:
        root = ElementTree.fromstring(text, ElementTree.XMLParser(target=_Builder()))
    except InvalidInputError:
        raise
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InvalidInputError(f"the robot description is not XML: {error}") from error
    if root.tag not in tags:
        raise InvalidInputError(
            f"the robot description must be <{'> or <'.join(tags)}> (MJCF: <mujoco>, URDF: <robot>), got <{root.tag}>"
        )
    return root


def numbers_of_joints(numbers: Mapping[str, str] | None, joints: Collection[str]) -> Mapping[str, str]:
    """Checks and returns the mapping from joint names to names of the 25 numbers.

    Args:
        numbers: maps joint names to `hwm_env.types.ACTION_NAMES`; `None`: joints have these names.
        joints: joint names of the robot.

    Raises:
        InvalidInputError: a number or joint is unknown.
    """
    if numbers is None:
        return {name: name for name in ACTION_NAMES}
    for joint, number in numbers.items():
        if number not in ACTION_NAMES:
            raise InvalidInputError(
                f"joint {joint!r} must be moved by one of {', '.join(ACTION_NAMES)}, got {number!r}"
            )
        if joint not in joints:
            raise InvalidInputError(
                f"{number!r} must move a joint of the robot description, got {joint!r}; it has {listed(joints)}"
            )
    return numbers


def listed(names: Collection[str]) -> str:
    """Returns names for an error message; only the first ones of very many."""
    shown = [repr(name) for name in list(names)[:_MAX_LISTED]]
    return ", ".join(shown) + (f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else "") or "none"


def vector(text: str, size: int = 3) -> Float64Array:
    """Parses `size` numbers.

    Raises:
        InvalidInputError: the text has fewer or more numbers, or they are invalid or not finite.
    """
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.empty(0)
    if values.shape != (size,) or not (np.abs(values) <= _MAX_NUMBER).all():
        expected = "a number was" if size == 1 else f"{size} numbers were"
        raise InvalidInputError(f"the robot description has {text[:100]!r} where {expected} expected")
    return values


def unit(values: Float64Array) -> Float64Array:
    """Returns the vector of length 1 in the same direction.

    Raises:
        InvalidInputError: the vector has length 0.
    """
    norm = math.sqrt(values @ values)
    if norm < _SMALLEST_NORM:
        raise InvalidInputError(f"the robot description has an axis or quaternion of length 0: {values.tolist()}")
    return values / norm


def turn(axis: Float64Array, angle_rad: float) -> Float64Array:
    """Returns the rotation [3, 3] around an axis (Rodrigues)."""
    x, y, z = unit(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned: Float64Array = np.eye(3) + math.sin(angle_rad) * cross + (1 - math.cos(angle_rad)) * (cross @ cross)
    return turned


def pose(offset_m: Float64Array | None = None, rotation: Float64Array | None = None) -> Float64Array:
    """Returns the pose [4, 4] of a rotation followed by a displacement."""
    matrix = np.eye(4)
    if offset_m is not None:
        matrix[:3, 3] = offset_m
    if rotation is not None:
        matrix[:3, :3] = rotation
    return matrix


def camera_link(
    matrix: Float64Array, number: str | None = None, axis: Float64Array | None = None, slides: bool = False
) -> CameraLink:
    """Returns a link at a pose in the previous frame, with a joint if a number moves it."""
    offset_m, rotation = _triple(matrix[:3, 3]), tuple(matrix[:3, :3].flatten().tolist())
    if number is None or axis is None:
        return CameraLink(offset_m=offset_m, rotation=rotation)
    return CameraLink(offset_m=offset_m, rotation=rotation, number=number, axis=_triple(unit(axis)), slides=slides)


def _triple(values: Float64Array) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return (x, y, z)
