"""Records a drive as a film and a replay file."""

from pathlib import Path

import numpy as np

from demos.driving.drive import ShownFrame
from demos.driving.session import Session
from demos.panels import smooth
from hwm_env.data.files import next_number, write_numbered
from hwm_env.data.videos import encode_video
from hwm_env.envs.rendering import RENDER_SIZE
from hwm_env.errors import InvalidInputError
from hwm_env.types import UInt8Array

FILM, REPLAY = "drive_{:03d}.mp4", "drive_{:03d}.npz"


class Recorder:
    """Collects the frames that are shown.

    Args:
        first_step: env step at which the recording begins.
    """

    def __init__(self, first_step: int) -> None:
        self._first_step = first_step
        self._frames: list[UInt8Array] = []

    def add(self, shown: ShownFrame) -> None:
        """Adds a frame: the shown worlds side by side."""
        self._frames.append(np.concatenate([smooth(frame, RENDER_SIZE) for frame in shown.frames.values()], axis=1))

    def save(self, session: Session, directory: Path) -> str:
        """Writes an MP4 file, and a replay file if the learned world has taken steps; returns a message.

        Raises:
            SavingError: a file cannot be written; existing files are unchanged.
        """
        if not self._frames:
            return "nothing was recorded"
        # A film has one size; frames of other sizes are left out.
        widest = max(frame.shape[1] for frame in self._frames)
        content = encode_video(np.stack([frame for frame in self._frames if frame.shape[1] == widest]))
        number = max(next_number(directory, name) for name in (FILM, REPLAY))
        film = directory / FILM.format(write_numbered(directory, FILM, content, number))
        try:
            session.replay(self._first_step).save(film.with_suffix(".npz"))
        except InvalidInputError:
            return f"recorded {film}"
        return f"recorded {film} and {film.with_suffix('.npz').name}"
