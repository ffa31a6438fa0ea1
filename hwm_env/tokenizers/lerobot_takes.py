"""Episodes of LeRobot data sets as takes: their pictures are in a video, or in the table with their states."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from hwm_env.data.lerobot import EpisodeVideo, LeRobotEpisode
from hwm_env.data.lerobot_features import TIME_COLUMN
from hwm_env.data.lerobot_pictures import TablePictures
from hwm_env.data.row_times import row_times
from hwm_env.data.state_tables import StateMapping, States, states_in
from hwm_env.data.tables import Table, read_rows
from hwm_env.data.videos import Damage, FrameTimes, frame_size, read_frames, timeline
from hwm_env.errors import DatasetError
from hwm_env.types import Float64Array, Int64Array, UInt8Array

REMEDY: Final = "copy the data set again, or choose other episodes"
_RATE_ERROR: Final = 0.05
"""Maximum relative deviation of a measured rate from that of the metadata."""


@dataclass(frozen=True, slots=True)
class _Episode:
    """What the takes of both kinds of cameras have in common."""

    episode: LeRobotEpisode
    fps: float
    info: Path
    mapping: StateMapping

    @property
    def name(self) -> str:
        return f"episode_{self.episode.index:06d}"

    @property
    def table(self) -> Path:
        return self.episode.table

    def states(self, times: FrameTimes) -> States:
        """Returns the states of the episode; see Take.

        Raises:
            DatasetError: the table has other rows than the metadata say, or another rate.
        """
        return states_in(self._rows(), self.mapping, times.times_s, len(times.chosen), times.duration_s)

    def _rows(self) -> Table:
        rows = _rows(self.table, self.episode.index, self.table.stat().st_mtime_ns)
        if rows.num_rows != self.episode.length:
            raise DatasetError(
                f"{self.table}: expected {self.episode.length} rows whose 'episode_index' is {self.episode.index}, as "
                f"the metadata say, found {rows.num_rows}; {REMEDY}"
            )
        if self.mapping.time == TIME_COLUMN and TIME_COLUMN in rows:
            self._check_rate(self.table, f"'{TIME_COLUMN}'", rows.numbers(TIME_COLUMN))
        return rows

    def _check_rate(self, path: Path, what: str, times_s: Float64Array) -> None:
        step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1 / self.fps
        if not abs(step_s * self.fps - 1) < _RATE_ERROR:
            raise DatasetError(
                f"{path}: expected {self.fps:g} a second in {self.name}, as fps in {self.info} says, but {what} are "
                f"{step_s:.4g} s apart ({1 / max(step_s, 1e-9):.4g} Hz); correct fps, or write the data set again at "
                "one rate"
            )


@dataclass(frozen=True, slots=True)
class FilmedEpisode(_Episode):
    """The Take of an episode whose pictures are in a video."""

    pictures: EpisodeVideo

    @property
    def video(self) -> Path:
        """File with the pictures."""
        return self.pictures.path

    def size(self) -> tuple[int, int]:
        """Returns the height and width of the video; see Take."""
        return frame_size(self.video)

    def times(self) -> FrameTimes:
        """Returns the times of the episode's pictures; see Take.

        Raises:
            DatasetError: there are none, or they have another rate than the data set.
        """
        whole = _timeline(self.video, self.video.stat().st_mtime_ns)
        begin_s, duration_s = self.pictures.start_s, self.episode.length / self.fps
        half_s = 0.5 / self.fps
        of_episode = slice(*np.searchsorted(whole.times_s, [begin_s - half_s, begin_s + duration_s - half_s]))
        times_s = whole.times_s[of_episode] - begin_s
        if not len(times_s):
            raise DatasetError(
                f"{self.video}: expected the pictures of {self.name} from {begin_s:.3f} to {begin_s + duration_s:.3f} "
                f"s, found none (the file ends at {whole.times_s[-1]:.3f} s); {REMEDY}"
            )
        self._check_rate(self.video, "pictures", times_s)
        breaks_off = whole.breaks_off and len(times_s) < self.episode.length
        return FrameTimes(
            # Rounded when it was written, so that the first picture may seem to be shown before its row was measured.
            times_s=np.maximum(times_s - times_s[0] if times_s[0] < half_s else times_s, 0.0),
            duration_s=max(duration_s, float(times_s[-1])),
            breaks_off=breaks_off,
            stamps=whole.stamps[of_episode],
        )

    def frames(
        self, times: FrameTimes, chosen: Int64Array, image_size: int | None, damage: Damage
    ) -> Iterator[UInt8Array]:
        """Decodes some of the pictures; see Take."""
        return read_frames(self.video, chosen, image_size, damage, int(times.stamps[0]))


@dataclass(frozen=True, slots=True)
class PicturedEpisode(_Episode):
    """The Take of an episode whose pictures are in the table."""

    pictures: TablePictures

    @property
    def video(self) -> Path:
        """File with the pictures."""
        return self.table

    def size(self) -> tuple[int, int]:
        """Returns the height and width that all pictures must have; see Take."""
        return self.pictures.size

    def times(self) -> FrameTimes:
        """Returns the times of the rows, since a picture was taken when its row was measured; see Take.

        Raises:
            DatasetError: the first picture cannot be read, or the table has other rows than the metadata say, or
                another rate.
        """
        rows, duration_s = self._rows(), self.episode.length / self.fps
        # Decoded here, so that a wrong column or size is found before hours of work.
        next(self.pictures.read(np.zeros(1, np.int64), None))
        time = None if self.mapping.time is None else str(self.mapping.time)
        by_fps = np.arange(self.episode.length) / self.fps
        times_s = row_times(rows, time, self.mapping.hz, by_fps, 0.0, duration_s).times_s
        return FrameTimes(times_s=times_s, duration_s=max(duration_s, float(times_s[-1])), breaks_off=False)

    def frames(
        self, times: FrameTimes, chosen: Int64Array, image_size: int | None, damage: Damage
    ) -> Iterator[UInt8Array]:
        """Decodes some of the pictures; see Take. A damaged one raises an error."""
        return self.pictures.read(chosen, image_size)


@lru_cache(maxsize=1)
def _rows(table: Path, episode: int, written_ns: int) -> Table:
    """Returns the rows of an episode, which both its times and its states need."""
    del written_ns  # Part of the key, so that a file that was replaced is read again.
    return read_rows(table, "episode_index", episode)


@lru_cache(maxsize=2)
def _timeline(path: Path, written_ns: int) -> FrameTimes:
    """Returns the times of all pictures of a file, which many episodes share."""
    del written_ns  # Part of the key, so that a file that was replaced is read again.
    return timeline(path)
