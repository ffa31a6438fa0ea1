"""RecordReplay: a file an episode, from which it can be lived again bit for bit."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from hwm_env.envs.learned import LearnedMoment
from hwm_env.envs.world_model_env import HumanoidWorldModelEnv
from hwm_env.envs.wrappers.episode_files import EpisodeFiles
from hwm_env.envs.wrappers.inner import humanoid_env
from hwm_env.errors import InvalidInputError
from hwm_env.replay import Replay, digest

logger = logging.getLogger(__name__)


class RecordReplay(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Writes `episode_00000.npz` and so on, each when its episode is over; `hwm-env replay` lives them again.

    In a directory that holds episodes already, the numbers go on after them. A recording ends early, with a warning,
    where `set_state` leads elsewhere: what comes then did not follow.

    Args:
        env: HWM-v0, in whatever wrappers.
        directory: where to write.

    Raises:
        InvalidInputError: it is another environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], directory: Path | str) -> None:
        RecordConstructorArgs.__init__(self, directory=str(directory))
        super().__init__(env)
        inner = humanoid_env(env)
        if not isinstance(inner, HumanoidWorldModelEnv):
            raise InvalidInputError(f"only HWM-v0 can be replayed, got {type(inner).__name__}")
        self._inner = inner
        self._files = EpisodeFiles(Path(directory), "episode_{:05d}.npz")
        self._next = 0
        self._replay: Replay | None = None
        self._last: LearnedMoment | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Writes the episode that ends, and begins another recording.

        Raises:
            SavingError: there is no room; the environment is reset, and what could not be written is kept for the next
                try.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        try:
            self._write()
        finally:
            self._last = self._inner.moment
            self._replay = Replay.begin(self._inner.simulator, self._last.state, info.get("start", -1))
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Records the step."""
        if self._replay is not None and self._inner.moment is not self._last:
            logger.warning("set_state led elsewhere: the recording of the episode ends here")
            self._write()
        result = self.env.step(action)
        if self._replay is not None:
            self._last = self._inner.moment
            self._replay = replace(
                self._replay,
                actions=np.concatenate([self._replay.actions, self._last.measured[None]]),
                digests=np.append(self._replay.digests, digest(self._last.tokens)),
            )
        return result

    def close(self) -> None:
        """Writes the episode that has begun.

        Raises:
            SavingError: there is no room.
        """
        try:
            self._write()
        finally:
            super().close()

    def _write(self) -> None:
        if self._replay is not None and len(self._replay.actions):
            self._files.add(self._next, self._replay.to_bytes())
            self._next += 1
        self._replay = None
        self._files.write()
