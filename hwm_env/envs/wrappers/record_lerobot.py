"""RecordLeRobot: episodes as a LeRobot data set."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from hwm_env.data.lerobot_writer import EncodedEpisode, LeRobotWriter, encode_episode
from hwm_env.envs.wrappers.episode_files import EpisodeRecorder
from hwm_env.envs.wrappers.inner import humanoid_env
from hwm_env.robot import Robot
from hwm_env.types import Float32Array, UInt8Array


class _LeRobotFiles:
    """The files of a data set; see Writes. After each episode, the metadata are complete."""

    def __init__(self, directory: Path, task: str, robot: Robot) -> None:
        self._writer = LeRobotWriter(directory, task, robot)
        self._joints = robot.indices
        self._waiting: list[EncodedEpisode] = []
        self._num_episodes = 0
        self._num_rows = 0

    def add(self, frames: UInt8Array, states: Float32Array) -> None:
        """Keeps an episode until `write` has written it."""
        self._waiting.append(encode_episode(self._num_episodes, self._num_rows, frames, states[:, self._joints]))
        self._num_episodes += 1
        self._num_rows += len(frames)

    def write(self) -> None:
        """Writes what is kept; see Writes."""
        while self._waiting:
            self._writer.add(self._waiting[0])
            self._writer.finish()
            del self._waiting[0]


class RecordLeRobot(EpisodeRecorder, RecordConstructorArgs):
    """Writes a LeRobot data set (v3.0), which has the episodes that are over; of either world.

    An episode has the last frame of its start and then 17 frames for each step, with the robot's joints in them. Needs
    the extra "data".

    Args:
        env: HWM-v0 or HWMReference-v0, with or without wrappers.
        directory: destination; new or empty.
        task: what the robot does, in words; policies that read language are trained with it.

    Raises:
        DatasetError: the directory is not empty.
        InvalidInputError: it is another environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], directory: Path | str, task: str) -> None:
        RecordConstructorArgs.__init__(self, directory=str(directory), task=task)
        self._files = _LeRobotFiles(Path(directory), task, humanoid_env(env).robot)
        super().__init__(env, self._files)
        self._frames: list[UInt8Array] = []
        self._states: list[Float32Array] = []

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment, and keeps the frames and numbers of the step."""
        result = self.env.step(action)
        self._frames.append(self._humanoid.clip)
        self._states.append(self._humanoid.moment.measured.copy())
        return result

    def _begin(self, info: dict[str, Any]) -> None:
        moment = self._humanoid.moment
        self._frames, self._states = [moment.last_frame[None].copy()], [moment.measured[-1:].copy()]

    def _end(self) -> None:
        if len(self._frames) > 1:
            self._files.add(np.concatenate(self._frames), np.concatenate(self._states))
        self._frames, self._states = [], []
