"""What a user is shown of a world."""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hwm_env.envs.world import Moment
from hwm_env.errors import InvalidInputError
from hwm_env.tasks.base import Goal
from hwm_env.types import FRAMES_PER_CLIP, Float32Array, UInt8Array

ObsMode = Literal["pixels", "pixels_state", "clip"]
Observation = UInt8Array | dict[str, npt.NDArray[Any]]


class ObservationAdapter:
    """Knows the observation space of an environment and fills it.

    Args:
        mode: "pixels", "pixels_state" or "clip".
        image_size: height and width of a frame in pixels.
        state_low: lowest values of the robot's numbers, [25].
        state_high: highest values of the robot's numbers, [25].
        goal_space: where the goal vectors lie; None without a task.

    Raises:
        InvalidInputError: an unknown mode.
    """

    def __init__(
        self,
        mode: ObsMode,
        *,
        image_size: int,
        state_low: Float32Array,
        state_high: Float32Array,
        goal_space: spaces.Box | None,
    ) -> None:
        if mode not in get_args(ObsMode):
            raise InvalidInputError(f"obs_mode must be one of {list(get_args(ObsMode))}, got {mode!r}")
        self._mode = mode
        self._state_low = state_low
        self._state_high = state_high
        self.space = self._make_space((image_size, image_size, 3), goal_space)
        """A Box of uint8 images, or a Dict."""

    def observe(self, moment: Moment, goal: Goal | None) -> Observation:
        """New arrays, which the user may keep and change."""
        if self._mode == "clip":
            return moment.frames.copy()
        pixels: UInt8Array = moment.frames[-1].copy()
        if self._mode == "pixels":
            return pixels
        observation: dict[str, npt.NDArray[Any]] = {
            "pixels": pixels,
            "state": np.clip(moment.measured[-1], self._state_low, self._state_high),
        }
        if goal is not None and moment.readout is not None:
            observation["goal"] = goal.vector(moment.readout)
        return observation

    def _make_space(self, image_shape: tuple[int, int, int], goal_space: spaces.Box | None) -> spaces.Space[Any]:
        pixels = spaces.Box(0, 255, image_shape, np.uint8)
        if self._mode == "pixels":
            return pixels
        if self._mode == "clip":
            return spaces.Box(0, 255, (FRAMES_PER_CLIP, *image_shape), np.uint8)
        parts: dict[str, spaces.Space[Any]] = {
            "pixels": pixels,
            "state": spaces.Box(self._state_low, self._state_high, dtype=np.float32),
        }
        if goal_space is not None:
            parts["goal"] = goal_space
        return spaces.Dict(parts)
