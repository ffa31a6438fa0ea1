"""The reference world: a robot in a room with kinematic motion, rendered from its head camera."""

from typing import Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot, room
from hwm_env.reference.backend import mujoco
from hwm_env.reference.kinematics import RobotState, advance
from hwm_env.reference.mujoco_model import CAMERA_NAME, FINGER_TRAVEL_M, finger_joints, mujoco_xml
from hwm_env.reference.opengl import ClosedOnExit, in_gl_thread
from hwm_env.reference.rendering import CameraRenderer
from hwm_env.types import (
    ACTION_DIM,
    ACTION_NAMES,
    FRAMES_PER_CLIP,
    LEFT_HAND_CLOSURE,
    NUM_JOINTS,
    RIGHT_HAND_CLOSURE,
    Float32Array,
    Float64Array,
    UInt8Array,
)

_RESET_MARGIN_M: Final = 0.25


class ReferenceWorld(ClosedOnExit):
    """A robot in a room that takes one action a frame at 30 Hz.

    Opens an OpenGL context on the first rendering: close it, or use it in a `with` block. May be copied and pickled.

    The measured numbers that a step returns are the action after joint and rate limits. The velocities among them are
    those of the wheels: at an obstacle the base stops and the wheels slip.

    Args:
        image_size: height and width of the camera image in pixels.

    Raises:
        InvalidInputError: `image_size` is out of range.
    """

    def __init__(self, image_size: int = 64) -> None:
        self._model = mujoco.MjModel.from_xml_string(mujoco_xml())
        self._data = mujoco.MjData(self._model)
        self._renderer = CameraRenderer(self._model, CAMERA_NAME, image_size)
        self._image_size = image_size
        self._base_qpos = self._qpos_addresses(["base_x", "base_y", "base_yaw"])
        self._joint_qpos = self._qpos_addresses(list(ACTION_NAMES[:NUM_JOINTS]))
        self._finger_qpos = self._qpos_addresses([*finger_joints("left"), *finger_joints("right")])
        self._state = RobotState(np.zeros(3), robot.REST_POSE)

    @property
    def image_size(self) -> int:
        """Height and width of an image in pixels."""
        return self._image_size

    @property
    def state(self) -> RobotState:
        """The present state; `set_state` restores it."""
        return self._state

    def set_state(self, state: RobotState) -> None:
        """Sets the state, at any place, at rest or moving; the next `step` continues from there.

        A base inside an obstacle stays there until a step ends in free space.

        Raises:
            InvalidInputError: a part of the state has another shape or is not finite; the world is unchanged.
        """
        base_pose, action = np.array(state.base_pose, np.float64), np.array(state.action, np.float32)
        for name, array, size in (("base_pose", base_pose, 3), ("action", action, ACTION_DIM)):
            if array.shape != (size,) or not np.isfinite(array).all():
                raise InvalidInputError(f"{name} of a state must be {size} finite numbers, got {array.tolist()}")
        self._state = RobotState(base_pose, action)

    def reset(self, rng: np.random.Generator) -> RobotState:
        """Puts the robot in its rest pose at a random free place with a random heading.

        Args:
            rng: generator of place and heading.

        Returns:
            The new state.
        """
        xy = rng.uniform(-room.HALF_SIZE_M, room.HALF_SIZE_M, 2)
        while not room.is_free(xy, _RESET_MARGIN_M):
            xy = rng.uniform(-room.HALF_SIZE_M, room.HALF_SIZE_M, 2)
        self._state = RobotState(np.array([*xy, rng.uniform(-np.pi, np.pi)]), robot.REST_POSE)
        return self._state

    def step(self, action: Float32Array) -> Float32Array:
        """Advances the robot by one frame without rendering.

        Args:
            action: target numbers, finite, [25].

        Returns:
            The measured numbers, float32 [25].

        Raises:
            InvalidInputError: the action has another shape or is not finite; the world is unchanged.
        """
        self._state = advance(self._state, action)
        return self._state.action.copy()

    def step_clip(self, actions: Float32Array) -> tuple[Float32Array, UInt8Array, Float64Array]:
        """Advances the robot by one clip and renders each frame after its action.

        Args:
            actions: target numbers of each frame, finite, [17, 25].

        Returns:
            The measured numbers float32 [17, 25], the images uint8 [17, S, S, 3] and the base poses
            (x, y, yaw) float64 [17, 3].

        Raises:
            InvalidInputError: the actions have another shape or are not finite; the world is unchanged.
            RenderingUnavailableError: there is no OpenGL here.
        """
        array = np.asarray(actions, np.float32)
        if array.shape != (FRAMES_PER_CLIP, ACTION_DIM):
            raise InvalidInputError(f"actions must have shape ({FRAMES_PER_CLIP}, {ACTION_DIM}), got {array.shape}")
        if not np.isfinite(array).all():
            frames = np.flatnonzero(~np.isfinite(array).all(axis=1)).tolist()
            raise InvalidInputError(f"actions must be finite, got NaN or infinity in frames {frames}; clean them first")
        measured = np.empty_like(array)
        frames_FSSC = np.empty((FRAMES_PER_CLIP, self._image_size, self._image_size, 3), np.uint8)
        poses = np.empty((FRAMES_PER_CLIP, 3))
        for frame, action in enumerate(array):
            measured[frame] = self.step(action)
            frames_FSSC[frame] = self.render()
            poses[frame] = self._state.base_pose
        return measured, frames_FSSC, poses

    def render(self) -> UInt8Array:
        """Renders the head camera in the present state.

        Returns:
            RGB image, uint8 [S, S, 3].

        Raises:
            RenderingUnavailableError: there is no OpenGL on this machine.
        """
        return self.draw(self._state)

    def draw(self, state: RobotState) -> UInt8Array:
        """Renders the head camera in another state, RGB uint8 [S, S, 3]; callable from any thread.

        Raises:
            RenderingUnavailableError: there is no OpenGL on this machine.
        """
        return in_gl_thread(self._draw, state)

    def close(self) -> None:
        """Frees the OpenGL context; the next rendering opens another one."""
        self._renderer.close()

    def _draw(self, state: RobotState) -> UInt8Array:
        numbers = state.action
        closures = numbers[[LEFT_HAND_CLOSURE, LEFT_HAND_CLOSURE, RIGHT_HAND_CLOSURE, RIGHT_HAND_CLOSURE]]
        self._data.qpos[self._base_qpos] = state.base_pose
        self._data.qpos[self._joint_qpos] = numbers[:NUM_JOINTS]
        self._data.qpos[self._finger_qpos] = FINGER_TRAVEL_M * (1.0 - closures)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        return self._renderer.render(self._data)

    def _qpos_addresses(self, joints: list[str]) -> list[int]:
        return [int(self._model.joint(name).qposadr[0]) for name in joints]
