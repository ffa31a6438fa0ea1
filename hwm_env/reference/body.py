"""Forward kinematics without MuJoCo: head, gaze and hands from base pose and joint angles.

The kinematic tree is read from the MuJoCo model, so that there is one description of the robot.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from hwm_env.reference.mujoco_model import CAMERA_NAME, FINGER_TRAVEL_M, Side, finger_joints, mujoco_xml
from hwm_env.types import ACTION_NAMES, LEFT_HAND_CLOSURE, NUM_JOINTS, RIGHT_HAND_CLOSURE, Float64Array

QUANTITY_DIM: Final = 15
"""Numbers that `quantities` returns for each moment."""
_CLOSURES: Final[dict[Side, int]] = {"left": LEFT_HAND_CLOSURE, "right": RIGHT_HAND_CLOSURE}


@dataclass(frozen=True, slots=True, eq=False)
class _Joint:
    name: str
    axis: Float64Array
    """Unit vector in the frame of its body, [3]."""
    slides: bool
    """Whether the joint slides along its axis (m) instead of turning around it (rad)."""


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    name: str
    parent: str | None
    offset_m: Float64Array
    """Origin in the frame of the parent, [3]."""
    joints: tuple[_Joint, ...]
    """In order from the parent."""


@dataclass(frozen=True, slots=True, eq=False)
class _Frames:
    """Poses of a body in N moments, in the frame of the room."""

    origin_m: Float64Array
    """[N, 3]"""
    rotation: Float64Array
    """Rotation from the body's frame to the room's, [N, 3, 3]."""

    def place(self, point_m: Float64Array) -> Float64Array:
        """Returns the positions [N, 3] of a point [3] of the body."""
        return self.origin_m + self.rotation @ point_m


def quantities(base_poses: npt.ArrayLike, numbers: npt.ArrayLike) -> Float64Array:
    """Computes where the robot's parts are in N moments, in metres in the frame of the room (z up from the floor).

    The position of a hand is the middle between its fingers, where it grips.

    Args:
        base_poses: x (m), y (m), yaw (rad) of the base, [N, 3].
        numbers: measured numbers of the robot, [N, 25].

    Returns:
        float64 [N, 15]: base x, y, yaw; position of the head camera; its viewing direction, a unit vector; position of
        the left hand; position of the right hand.
    """
    poses, frames = _frames(base_poses, numbers)
    carrier, camera_m, gaze = _camera()
    hands = [(frames[f"{side}_inner"].origin_m + frames[f"{side}_outer"].origin_m) / 2.0 for side in ("left", "right")]
    return np.hstack([poses, frames[carrier].place(camera_m), frames[carrier].rotation @ gaze, *hands])


def skeleton(base_poses: npt.ArrayLike, numbers: npt.ArrayLike) -> dict[str, tuple[Float64Array, Float64Array]]:
    """Computes the bones, from a body's parent to the body, in N moments: ends [N, 3] in metres in the room's frame.

    Args:
        base_poses: x (m), y (m), yaw (rad) of the base, [N, 3].
        numbers: measured numbers of the robot, [N, 25].
    """
    _, frames = _frames(base_poses, numbers)
    return {
        body.name: (frames[body.parent].origin_m, frames[body.name].origin_m)
        for body in _bodies()
        if body.parent is not None
    }


def _frames(base_poses: npt.ArrayLike, numbers: npt.ArrayLike) -> tuple[Float64Array, dict[str | None, _Frames]]:
    """Returns the poses as an array, and the frames of all bodies by name; `None` is the room."""
    poses, measured = np.asarray(base_poses, np.float64), np.asarray(numbers, np.float64)
    values = _joint_values(poses, measured)
    frames: dict[str | None, _Frames] = {
        None: _Frames(np.zeros((len(poses), 3)), np.tile(np.eye(3), (len(poses), 1, 1)))
    }
    for body in _bodies():
        frames[body.name] = _moved(frames[body.parent], body, values)
    return poses, frames


def _joint_values(poses: Float64Array, measured: Float64Array) -> dict[str, Float64Array]:
    """Returns the value [N] of every joint of the model."""
    base = dict(zip(("base_x", "base_y", "base_yaw"), poses.T, strict=True))
    angles = dict(zip(ACTION_NAMES[:NUM_JOINTS], measured.T[:NUM_JOINTS], strict=True))
    fingers = {
        joint: FINGER_TRAVEL_M * (1.0 - measured[:, column])
        for side, column in _CLOSURES.items()
        for joint in finger_joints(side)
    }
    return base | angles | fingers


def _moved(parent: _Frames, body: _Body, values: dict[str, Float64Array]) -> _Frames:
    """Returns the frames of a body after all of its joints, from those of its parent."""
    origin, rotation = parent.place(body.offset_m), parent.rotation
    for joint in body.joints:
        value = values[joint.name]
        if joint.slides:
            origin = origin + (rotation @ joint.axis) * value[:, None]
        else:
            rotation = rotation @ _turns(joint.axis, value)
    return _Frames(origin, rotation)


def _turns(axis: Float64Array, angles_rad: Float64Array) -> Float64Array:
    """Returns the rotations around an axis [3] by angles [N]: [N, 3, 3] (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    sin, cos = np.sin(angles_rad)[:, None, None], np.cos(angles_rad)[:, None, None]
    return np.asarray(np.eye(3) + sin * cross + (1.0 - cos) * (cross @ cross))


@cache
def _bodies() -> tuple[_Body, ...]:
    """Returns all bodies of the model, parents before children."""
    found: list[_Body] = []

    def add(element: ElementTree.Element, parent: str | None) -> None:
        for child in element.findall("body"):
            name = child.attrib["name"]
            found.append(_Body(name, parent, _vector(child.get("pos", "0 0 0")), _joints(child)))
            add(child, name)

    add(_world(), None)
    return tuple(found)


def _joints(body: ElementTree.Element) -> tuple[_Joint, ...]:
    return tuple(
        _Joint(joint.attrib["name"], _unit(_vector(joint.attrib["axis"])), joint.get("type") == "slide")
        for joint in body.findall("joint")
    )


@cache
def _camera() -> tuple[str, Float64Array, Float64Array]:
    """Returns the body of the head camera, and the camera's position and viewing direction in its frame, [3] each."""
    for body in _world().iter("body"):
        for camera in body.findall("camera"):
            if camera.attrib["name"] == CAMERA_NAME:
                right, up = _vector(camera.attrib["xyaxes"]).reshape(2, 3)
                return body.attrib["name"], _vector(camera.attrib["pos"]), _unit(np.cross(up, right))
    raise AssertionError(f"the model has no camera {CAMERA_NAME!r}")


@cache
def _world() -> ElementTree.Element:
    world = ElementTree.fromstring(mujoco_xml()).find("worldbody")
    assert world is not None, "every model has a worldbody"
    return world


def _vector(text: str) -> Float64Array:
    return np.array(text.split(), np.float64)


def _unit(vector: Float64Array) -> Float64Array:
    return np.asarray(vector / np.linalg.norm(vector))
