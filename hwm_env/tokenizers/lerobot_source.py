"""The episodes of a LeRobot data set as a source for the tokenizer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from hwm_env.data.files import check_file
from hwm_env.data.lerobot import INFO_FILE, EpisodeVideo, LeRobotEpisode, LeRobotLayout
from hwm_env.data.lerobot_features import TIME_COLUMN
from hwm_env.data.state_tables import StateMapping, States, states_in
from hwm_env.data.tables import read_rows
from hwm_env.data.videos import Damage, FrameTimes, read_frames, timeline
from hwm_env.errors import DatasetError
from hwm_env.tokenizers.sources import Source
from hwm_env.tokenizers.takes import source_of_takes
from hwm_env.types import Float64Array, Int64Array, UInt8Array

_RATE_ERROR: Final = 0.05
"""Maximum relative deviation of a measured rate from that of the metadata."""
_REMEDY: Final = "copy the data set again, or choose other episodes"


@dataclass(frozen=True, slots=True)
class _Episode:
    """The Take of one episode."""

    episode: LeRobotEpisode
    pictures: EpisodeVideo
    fps: float
    info: Path
    mapping: StateMapping

    @property
    def name(self) -> str:
        return f"episode_{self.episode.index:06d}"

    @property
    def video(self) -> Path:
        return self.pictures.path

    @property
    def table(self) -> Path:
        return self.episode.table

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
                f"s, found none (the file ends at {whole.times_s[-1]:.3f} s); {_REMEDY}"
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

    def states(self, times: FrameTimes) -> States:
        """Returns the states of the episode; see Take.

        Raises:
            DatasetError: the table has other rows than the metadata say, or another rate.
        """
        rows = read_rows(self.table, "episode_index", self.episode.index)
        if rows.num_rows != self.episode.length:
            raise DatasetError(
                f"{self.table}: expected {self.episode.length} rows whose 'episode_index' is {self.episode.index}, as "
                f"the metadata say, found {rows.num_rows}; {_REMEDY}"
            )
        if self.mapping.time == TIME_COLUMN and TIME_COLUMN in rows:
            self._check_rate(self.table, f"'{TIME_COLUMN}'", rows.numbers(TIME_COLUMN))
        return states_in(rows, self.mapping, times.times_s, len(times.chosen), times.duration_s)

    def frames(
        self, times: FrameTimes, chosen: Int64Array, image_size: int | None, damage: Damage
    ) -> Iterator[UInt8Array]:
        """Decodes some of the pictures; see Take."""
        return read_frames(self.video, chosen, image_size, damage, int(times.stamps[0]))

    def _check_rate(self, path: Path, what: str, times_s: Float64Array) -> None:
        step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1 / self.fps
        if not abs(step_s * self.fps - 1) < _RATE_ERROR:
            raise DatasetError(
                f"{path}: expected {self.fps:g} a second in {self.name}, as fps in {self.info} says, but {what} are "
                f"{step_s:.4g} s apart ({1 / max(step_s, 1e-9):.4g} Hz); correct fps, or write the data set again at "
                "one rate"
            )


@lru_cache(maxsize=2)
def _timeline(path: Path, written_ns: int) -> FrameTimes:
    """Returns the times of all pictures of a file, which many episodes share."""
    del written_ns  # Part of the key, so that a file that was replaced is read again.
    return timeline(path)


def is_lerobot(directory: Path) -> bool:
    """Returns whether a directory holds a LeRobot data set."""
    return (directory / INFO_FILE).exists()


def lerobot_source(
    directory: Path,
    offsets: Sequence[int],
    mapping: StateMapping,
    image_size: int | None,
    camera: str | None = None,
    episodes: Sequence[int] | None = None,
) -> Source:
    """Returns the episodes of a LeRobot data set, one shard for each episode and offset; an episode is one segment.

    Args:
        directory: the data set, v2.0, v2.1 or v3.0.
        offsets: frames to leave out at the beginning.
        mapping: meaning of the columns; see `Features.resolve`.
        image_size: height and width to which pictures are cropped and resized; `None` leaves them unchanged.
        camera: name of the camera, with or without "observation.images."; `None` means the only one.
        episodes: indices of the episodes; `None` means all.

    Raises:
        DatasetError: files are missing, damaged or do not fit each other, or all episodes are too short.
        InvalidInputError: `offsets`, `camera` or `episodes` is invalid, or no column is one of the 25 numbers.
        MissingExtraError: PyAV or pyarrow is not installed.
    """
    layout = LeRobotLayout.read(directory)
    name, resolved, info = layout.camera(camera), layout.features.resolve(mapping), directory / INFO_FILE
    takes = {
        episode.index: _Episode(episode, episode.videos[name], layout.fps, info, resolved)
        for episode in layout.chosen(episodes)
    }
    for take in takes.values():
        check_file(take.table, DatasetError, f"it has the rows of {take.name}: {_REMEDY}")
        check_file(take.video, DatasetError, f"it has the pictures of {take.name}: {_REMEDY}")
    about: dict[str, object] = {"mapping": resolved.to_json(), "camera": name, "robot_type": layout.robot_type}
    fingerprint = {"mapping": resolved.to_json(), "camera": name, "episodes": list(takes)}
    extra = {"source": f"LeRobot {layout.version}", **about}
    return source_of_takes(directory, takes, offsets, image_size, mapping.joints, extra, fingerprint)
