"""Observations: their space, and their values at a moment."""

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hwm_env.envs.config import EnvConfig
from hwm_env.envs.rendering import resized
from hwm_env.envs.world import WorldMoment, WorldSource
from hwm_env.tasks.base import Goal, Task
from hwm_env.types import FRAMES_PER_CLIP, LATENTS_PER_CLIP, Float32Array, UInt8Array

Observation = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]


class ObservationAdapter:
    """Makes the observations of an environment.

    Args:
        config: arguments of the environment.
        checkpoint: determines the sizes of frames and tokens.
        task: the task whose goals are observed, if there is one.
        low: lowest values of the 25 numbers, [25].
        high: highest values, [25].
    """

    def __init__(
        self,
        config: EnvConfig,
        checkpoint: WorldSource,
        task: Task | None,
        low: Float32Array,
        high: Float32Array,
    ) -> None:
        self._mode = config.obs_mode
        self._image_size = config.image_size or checkpoint.image_size
        self._frames = spread_frames(config.num_frames)
        self._joints = checkpoint.robot.indices
        self._state_low, self._state_high = low[self._joints], high[self._joints]
        goal_space = task.goal_space(checkpoint.image_size) if task else None
        self._shows_goal = goal_space is not None
        self.space = self._make_space(checkpoint, goal_space)
        """Observation space: a Box, or a Dict of them."""

    def observe(self, moment: WorldMoment, goal: Goal | None) -> Observation:
        """Returns the observation of a moment; new arrays, which the user may keep and modify."""
        if self._mode == "tokens":
            return moment.tokens.copy()
        if self._mode == "latents":
            return moment.latents
        if self._mode == "clip":
            return self._sized(moment.frames[self._frames])
        if self._mode == "pixels":
            return self._last_frame(moment)
        observation: dict[str, npt.NDArray[Any]] = {
            "state": np.clip(moment.measured[-1, self._joints], self._state_low, self._state_high)
        }
        if self._mode == "pixels_state":
            observation["pixels"] = self._last_frame(moment)
        if goal is not None and self._shows_goal:
            observation["goal"] = np.array(goal.observe(moment))
        return observation

    def _last_frame(self, moment: WorldMoment) -> UInt8Array:
        last: UInt8Array = self._sized(moment.last_frame[None])[0]
        return last

    def _sized(self, frames: UInt8Array) -> UInt8Array:
        return resized(frames, self._image_size) if frames.shape[1] != self._image_size else frames.copy()

    def _make_space(self, checkpoint: WorldSource, goal_space: spaces.Box | None) -> spaces.Space[Any]:
        image = (self._image_size, self._image_size, 3)
        clip = (LATENTS_PER_CLIP, *checkpoint.grid_size)
        if self._mode == "tokens":
            return spaces.Box(0, checkpoint.tokenizer.codebook_size - 1, clip, np.int32)
        if self._mode == "latents":
            return spaces.Box(-1.0, 1.0, (*clip, len(checkpoint.tokenizer.fsq_levels)), np.float32)
        if self._mode == "clip":
            return spaces.Box(0, 255, (len(self._frames), *image), np.uint8)
        pixels = spaces.Box(0, 255, image, np.uint8)
        if self._mode == "pixels":
            return pixels
        parts: dict[str, spaces.Space[Any]] = {"state": spaces.Box(self._state_low, self._state_high, dtype=np.float32)}
        if self._mode == "pixels_state":
            parts["pixels"] = pixels
        if goal_space is not None:
            parts["goal"] = goal_space
        return spaces.Dict(parts)


def spread_frames(count: int) -> npt.NDArray[np.int64]:
    """Returns the indices of `count` evenly spread frames of the 17 of a step, the last included; int64 [count]."""
    return np.arange(1, count + 1) * FRAMES_PER_CLIP // count - 1
