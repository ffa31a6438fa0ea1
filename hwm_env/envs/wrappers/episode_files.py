"""Numbered files of episodes, which are never written over."""

from pathlib import Path

from hwm_env.data.files import Content, next_number, write_numbered


class EpisodeFiles:
    """Writes a file an episode; numbers go on after those of the files that are there already.

    What cannot be written (a full disk) is kept, and written with the next episode.

    Args:
        directory: where.
        name: of the files, such as "episode_{:05d}.npz".
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._first = next_number(directory, name)
        self._waiting: list[tuple[int, Content]] = []

    def add(self, episode: int, content: Content) -> None:
        """Keeps the content of an episode's file until `write` has written it.

        Args:
            episode: counted from 0 by this recorder.
            content: of the file.
        """
        self._waiting.append((self._first + episode, content))

    def write(self) -> None:
        """Writes what is kept.

        Raises:
            SavingError: there is no room; what could not be written is still kept.
        """
        while self._waiting:
            number, content = self._waiting[0]
            write_numbered(self._directory, self._name, content, number)
            del self._waiting[0]
