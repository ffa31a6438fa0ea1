"""Numbered files of episodes, and the wrapper that writes them."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, Protocol

import gymnasium

from hwm_env.data.files import Content, next_number, write_numbered
from hwm_env.envs.wrappers.inner import humanoid_env


class EpisodeFiles:
    """Writes one file an episode, numbered after the files that exist already.

    Content that cannot be written (a full disk) is kept, and written with the next episode.

    Args:
        directory: destination.
        name: format of the file names, such as "episode_{:05d}.npz".
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._first = next_number(directory, name)
        self._waiting: list[tuple[int, Content]] = []

    def add(self, episode: int, content: Content) -> None:
        """Keeps the content of an episode's file until `write` has written it.

        Args:
            episode: index of the episode, counted from 0 by this recorder.
            content: content of the file.
        """
        self._waiting.append((self._first + episode, content))

    def write(self) -> None:
        """Writes what is kept.

        Raises:
            SavingError: a file cannot be written; it is still kept.
        """
        while self._waiting:
            number, content = self._waiting[0]
            write_numbered(self._directory, self._name, content, number)
            del self._waiting[0]


class Writes(Protocol):
    """Files of episodes, which are kept until they are written."""

    def write(self) -> None:
        """Writes what is kept.

        Raises:
            SavingError: a file cannot be written; it is still kept.
        """
        ...


class EpisodeRecorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Base class of wrappers that write a file for each episode, when it ends and when the environment is closed.

    Args:
        env: the environment.
        files: what the episodes are added to.

    Raises:
        InvalidInputError: there is no environment of this package in `env`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], files: Writes) -> None:
        super().__init__(env)
        self._humanoid = humanoid_env(env)
        self._recorded = files

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode, and writes the file of the previous one.

        Raises:
            SavingError: the file cannot be written; the environment is reset, and the content is kept for the next try.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        try:
            self._write()
        finally:
            self._begin(info)
        return observation, info

    def close(self) -> None:
        """Writes the file of the present episode, and closes the environment.

        Raises:
            SavingError: the file cannot be written.
        """
        try:
            self._write()
        finally:
            super().close()

    def _write(self) -> None:
        """Ends the recording, and writes all files that are not written yet."""
        self._end()
        self._recorded.write()

    @abstractmethod
    def _begin(self, info: dict[str, Any]) -> None:
        """Begins the recording of an episode; `info` is that of its reset."""

    @abstractmethod
    def _end(self) -> None:
        """Ends the recording, and adds it to the files if it has a step."""
