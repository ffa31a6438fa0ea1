"""A directory of videos, each beside a table of its states, as a source for the tokenizer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwm_env.data.state_tables import StateMapping, States, read_states
from hwm_env.data.tables import TABLE_SUFFIXES
from hwm_env.data.videos import VIDEO_SUFFIXES, Damage, FrameTimes, frame_size, read_frames, timeline
from hwm_env.errors import DatasetError
from hwm_env.tokenizers.sources import Source
from hwm_env.tokenizers.takes import source_of_takes
from hwm_env.types import Int64Array, UInt8Array


@dataclass(frozen=True, slots=True)
class _Video:
    """The Take of a whole video."""

    video: Path
    table: Path
    mapping: StateMapping

    @property
    def name(self) -> str:
        return self.video.name

    def size(self) -> tuple[int, int]:
        return frame_size(self.video)

    def times(self) -> FrameTimes:
        return timeline(self.video)

    def states(self, times: FrameTimes) -> States:
        return read_states(self.table, self.mapping, times.times_s, len(times.chosen), times.duration_s)

    def frames(
        self, times: FrameTimes, chosen: Int64Array, image_size: int | None, damage: Damage
    ) -> Iterator[UInt8Array]:
        return read_frames(self.video, chosen, image_size, damage)


def video_source(directory: Path, offsets: Sequence[int], mapping: StateMapping, image_size: int | None) -> Source:
    """Returns the videos of a directory, one shard for each video and offset; a video is one segment.

    Videos shorter than a clip are left out.

    Args:
        directory: contains videos, each beside its states: `walk.mp4` and `walk.csv`, `.parquet` or `.npy`.
        offsets: frames to leave out at the beginning.
        mapping: meaning of the states' columns.
        image_size: height and width to which videos are cropped and resized; with `None`, all videos must have one
            size, and keep it.

    Raises:
        DatasetError: there are no videos, states are missing or do not fit, or all videos are too short.
        InvalidInputError: `offsets` is empty, negative or repeated, or the videos differ in size.
    """
    takes = [_Video(video, table, mapping) for video, table in _videos(directory).items()]
    extra = {"source": "videos", "mapping": mapping.to_json()}
    return source_of_takes(
        directory,
        dict(enumerate(takes)),
        offsets,
        image_size,
        mapping.joints,
        extra,
        {"mapping": mapping.to_json()},
    )


def _videos(directory: Path) -> dict[Path, Path]:
    """Returns the videos of a directory in the order of their names, each with the table of its states."""
    # Hidden files belong to other programs, such as the "._walk.mp4" that macOS writes beside a "walk.mp4".
    files = sorted(path for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        raise DatasetError(
            f"{directory}: expected a metadata.json or videos ({', '.join(VIDEO_SUFFIXES)}), found neither"
        )
    tables: dict[Path, Path] = {}
    for video in videos:
        found = [path for path in files if path.stem == video.stem and path.suffix.lower() in TABLE_SUFFIXES]
        if len(found) != 1:
            raise DatasetError(
                f"{video}: expected its states beside it in one of "
                f"{', '.join(video.with_suffix(suffix).name for suffix in TABLE_SUFFIXES)}, found {len(found)} of them"
            )
        if found[0] in tables.values():
            raise DatasetError(f"{found[0]}: expected one video beside it, found several, such as {video.name}")
        tables[video] = found[0]
    return tables
