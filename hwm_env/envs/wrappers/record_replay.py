"""RecordReplay: a file an episode, from which the episode can be replayed to the bit."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from hwm_env.envs.learned import LearnedMoment
from hwm_env.envs.world_model_env import HumanoidWorldModelEnv
from hwm_env.envs.wrappers.episode_files import EpisodeFiles, EpisodeRecorder
from hwm_env.errors import InvalidInputError
from hwm_env.replay import Replay, digest

logger = logging.getLogger(__name__)


class RecordReplay(EpisodeRecorder, RecordConstructorArgs):
    """Writes `episode_00000.npz` and so on, each when its episode is over; `hwm-env replay` replays them.

    In a directory that already holds episodes, the numbers continue after them. `set_state` ends a recording early,
    with a warning, since the steps after it do not follow from those before.

    Args:
        env: HWM-v0, with or without wrappers.
        directory: destination.

    Raises:
        InvalidInputError: it is another environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], directory: Path | str) -> None:
        RecordConstructorArgs.__init__(self, directory=str(directory))
        self._files = EpisodeFiles(Path(directory), "episode_{:05d}.npz")
        super().__init__(env, self._files)
        inner = self._humanoid
        if not isinstance(inner, HumanoidWorldModelEnv):
            raise InvalidInputError(f"env must be HWM-v0, which alone can be replayed, got {type(inner).__name__}")
        if not inner.has_pictures:
            raise InvalidInputError("env must predict pictures, which replays repeat; leave out pictures=False")
        self._inner = inner
        self._next = 0
        self._replay: Replay | None = None
        self._last: LearnedMoment | None = None

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment, and records the step."""
        if self._replay is not None and self._inner.moment is not self._last:
            logger.warning("set_state changed the world: the recording of the episode ends here")
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

    def _begin(self, info: dict[str, Any]) -> None:
        self._last = self._inner.moment
        self._replay = Replay.begin(self._inner.simulator, self._last.state, info.get("start", -1))

    def _end(self) -> None:
        if self._replay is not None and len(self._replay.actions):
            self._files.add(self._next, self._replay.to_bytes())
            self._next += 1
        self._replay = None
