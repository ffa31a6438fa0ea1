"""StackFrames: observations of the newest frames, across env steps."""

from typing import Annotated, Any, Final

import gymnasium
import numpy as np
from annotated_types import Ge, Le
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from hwm_env.envs.rendering import resized
from hwm_env.envs.wrappers.inner import humanoid_env
from hwm_env.errors import InvalidInputError
from hwm_env.fields import checked
from hwm_env.types import UInt8Array

_FrameCount: Final = Annotated[int, Ge(1), Le(1000)]


class StackFrames(gymnasium.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Stacks several frames along the channels, oldest first, so that a CNN sees motion.

    Frames are counted at 30 Hz, within clips and across them, so that `stride` means the same everywhere; Gymnasium's
    FrameStackObservation takes one frame an env step, 0.567 s apart. Needs `obs_mode` `pixels` or `pixels_state`. The
    oldest frame of the episode's first clip stands for all frames before it.

    Args:
        env: the environment.
        num_frames: number of stacked frames, at least 1.
        stride: distance between stacked frames, in frames, at least 1.

    Raises:
        InvalidInputError: a number is out of range, or observations have no pixels.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], num_frames: int = 4, stride: int = 4) -> None:
        num_frames, stride = checked("num_frames", num_frames, _FrameCount), checked("stride", stride, _FrameCount)
        RecordConstructorArgs.__init__(self, num_frames=num_frames, stride=stride)
        super().__init__(env)
        self._humanoid = humanoid_env(env)
        space = env.observation_space
        pixels = space["pixels"] if isinstance(space, spaces.Dict) and "pixels" in space.spaces else space
        if not isinstance(pixels, spaces.Box) or len(pixels.shape) != 3 or pixels.dtype != np.uint8:
            raise InvalidInputError(
                f"env must have obs_mode 'pixels' or 'pixels_state' for StackFrames, got observations in {space}"
            )
        self._size = pixels.shape[0]
        self._back = np.arange(num_frames)[::-1] * stride
        self._frames: list[UInt8Array] = []
        stacked = spaces.Box(0, 255, (self._size, self._size, 3 * num_frames), np.uint8)
        self.observation_space = (
            spaces.Dict({**space.spaces, "pixels": stacked}) if isinstance(space, spaces.Dict) else stacked
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment; the first frames are those of the recorded clip before the episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._frames = []
        return self.observation(observation), info

    def observation(self, observation: Any) -> Any:
        """Replaces the pixels by the stacked frames."""
        self._frames.extend(self._humanoid.clip)
        del self._frames[: -1 - int(self._back[0])]
        last = len(self._frames) - 1
        chosen = np.stack([self._frames[max(0, last - back)] for back in self._back])
        sized = chosen if chosen.shape[1] == self._size else resized(chosen, self._size)
        stacked = np.concatenate(list(sized), axis=-1)
        return {**observation, "pixels": stacked} if isinstance(observation, dict) else stacked
