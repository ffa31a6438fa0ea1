"""Sources for the tokenizer: recordings with raw images, and directories of videos beside states."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np

from hwm_env.data.format import METADATA_FILE, ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import POSE_NAMES, StateMapping, read_states
from hwm_env.data.tables import TABLE_SUFFIXES
from hwm_env.data.videos import VIDEO_SUFFIXES, Damage, FrameTimes, frame_size, read_frames, timeline
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, Float32Array, Int32Array, UInt8Array

NOTED_SHARE: Final = 0.01
"""A larger share of held or interpolated frames or states causes a warning."""

logger = logging.getLogger(__name__)


class Recording(NamedTuple):
    """A stretch of N frames at 30 Hz."""

    frames: Iterator[UInt8Array]
    """uint8 [H, W, 3], frame by frame."""
    states: Float32Array
    """float32 [N, 25]."""
    segments: Int32Array
    """int32 [N]."""
    poses: Float32Array | None
    """float32 [N, 3]; `None` if unknown."""
    damage: Damage
    """Count of damaged frames, updated while `frames` is read."""


class Job(Protocol):
    """One shard to make, possibly in a worker process."""

    @property
    def source(self) -> str:
        """Name of the source; shards of one source are never divided between training and validation."""
        ...

    def read(self) -> Recording:
        """Opens the recording."""
        ...


class Source(NamedTuple):
    """All shards to make of a directory of recordings, and their metadata."""

    jobs: Sequence[Job]
    image_size: tuple[int, int]
    """Height and width of all frames."""
    extra: dict[str, object]
    """Further keys of the data set's metadata."""
    fingerprint: dict[str, object]
    """Identifies the source and its version."""


@dataclass(frozen=True, slots=True)
class _RecordedShard:
    """A shard of a recording, beginning at frame `offset`."""

    directory: Path
    index: int
    offset: int

    @property
    def source(self) -> str:
        return f"shard {self.index}"

    def read(self) -> Recording:
        shard = Dataset(self.directory).shards[self.index]
        assert shard.frames is not None, f"shard {self.index} has no raw images"
        return Recording(
            iter(shard.frames[self.offset :]),
            shard.states[self.offset :],
            shard.segments[self.offset :],
            None if shard.poses is None else shard.poses[self.offset :],
            Damage(),
        )


@dataclass(frozen=True, slots=True)
class _VideoFrom:
    """A video and its states, beginning at frame `offset`; one segment."""

    video: Path
    states: Path
    mapping: StateMapping
    image_size: int | None
    segment: int
    offset: int

    @property
    def source(self) -> str:
        return self.video.name

    def read(self) -> Recording:
        times = timeline(self.video)
        chosen, damage = times.chosen, Damage()
        states = read_states(self.states, self.mapping, times.times_s, len(chosen), times.duration_s)
        frames = read_frames(self.video, chosen[self.offset :], self.image_size, damage)
        values, poses = states.values[self.offset :], states.poses
        segments = np.full(len(values), self.segment, np.int32)
        return Recording(frames, values, segments, None if poses is None else poses[self.offset :], damage)


def recording_source(directory: Path, offsets: Sequence[int]) -> Source:
    """Returns the shards of a recording with raw images, one for each shard and offset.

    Raises:
        InvalidInputError: `offsets` is empty, negative, repeated, or not less than the length of a shard.
        DatasetError: the recording has no raw images.
    """
    dataset = Dataset(directory)
    dataset.require(ShardFile.FRAMES)
    size = dataset.metadata.image_size
    assert size is not None, "the reader refuses raw images of unknown size"
    _check_offsets(offsets)
    shortest = min(shard.num_frames for shard in dataset.shards)
    if max(offsets) >= shortest:
        raise InvalidInputError(
            f"offsets: expected frames from 0 to {shortest - 1} (the shortest shard), got {tuple(offsets)}"
        )
    jobs = [_RecordedShard(directory, shard.index, offset) for offset in offsets for shard in dataset.shards]
    written = (directory / METADATA_FILE).stat()
    fingerprint: dict[str, object] = {
        "recording": str(directory.resolve()),
        "written": [written.st_size, written.st_mtime_ns],
    }
    return Source(jobs, size, dict(dataset.metadata.extra), fingerprint)


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
    _check_offsets(offsets)
    if image_size is not None and image_size < 1:
        raise InvalidInputError(f"the image size must be at least 1 pixel, got {image_size}")
    videos = _videos(directory)
    size = _common_size(videos) if image_size is None else (image_size, image_size)
    jobs: list[_VideoFrom] = []
    filled: dict[str, float] = {}
    posed: dict[Path, bool] = {}
    notes: dict[str, dict[str, float | str]] = {}
    for segment, (video, table) in enumerate(videos.items()):
        times = timeline(video)
        num_frames = len(times.chosen)
        # Read here, so that an error in a table is found before hours of work.
        states = read_states(table, mapping, times.times_s, num_frames, times.duration_s)
        filled |= states.filled
        posed[table] = states.poses is not None
        if num_frames - max(offsets) < FRAMES_PER_CLIP:
            logger.warning("%s is left out: %d frames are less than a clip and the offset", video, num_frames)
            continue
        if video_notes := {**_notes_on_video(video, times), **states.notes}:
            notes[video.name] = video_notes
        _warn(video, num_frames, video_notes)
        jobs += [_VideoFrom(video, table, mapping, image_size, segment, offset) for offset in offsets]
    if not jobs:
        raise DatasetError(f"{directory}: all {len(videos)} videos are shorter than a clip ({FRAMES_PER_CLIP} frames)")
    if len(set(posed.values())) > 1:
        lacking = [path.name for path, has in posed.items() if not has]
        raise DatasetError(
            f"{directory}: {len(posed) - len(lacking)} tables contain the pose of the base, {len(lacking)} do not, "
            f"such as {lacking[0]}; add {', '.join(POSE_NAMES)} to those, or remove them from all"
        )
    for name, value in filled.items():
        logger.warning("no column contains %s: using %g", name, value)
    files = [file for pair in videos.items() for file in pair]
    by_offset = [job for offset in offsets for job in jobs if job.offset == offset]
    return Source(
        by_offset,
        size,
        {"source": "videos", "mapping": mapping.to_json(), "filled_actions": filled, "recording_notes": notes},
        {
            "files": [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files],
            "mapping": mapping.to_json(),
            "image_size": image_size,
        },
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


def _notes_on_video(video: Path, times: FrameTimes) -> dict[str, float | str]:
    """Returns notes on repeated and missing frames of a video, as `States.notes` does for states.

    Raises:
        DatasetError: most of its frames are missing.
    """
    num_frames = len(times.chosen)
    if 2 * times.num_held > num_frames:
        raise DatasetError(
            f"{video}: expected pictures throughout, but {times.num_held} of {num_frames} frames at {FRAME_RATE_HZ} Hz "
            f"have none of their own ({len(times.times_s)} pictures in {times.times_s[-1]:.3f} s); cut or repair it"
        )
    notes: dict[str, float | str] = {"held_pictures": times.num_held} if times.num_held else {}
    if times.breaks_off:
        notes["missing_s"] = round(times.duration_s - float(times.times_s[-1]), 3)
    return notes


def _warn(video: Path, num_frames: int, notes: Mapping[str, float | str]) -> None:
    """Logs warnings about what may make a recording useless, if it exceeds `NOTED_SHARE`."""
    for name in ("held_pictures", "interpolated_states", "held_states"):
        count = notes.get(name, 0)
        if isinstance(count, int) and count > max(1, NOTED_SHARE * num_frames):
            what, kind = name.split("_")
            logger.warning("%s: %d of %d %s are %s, since their own are missing", video, count, num_frames, kind, what)
    if "missing_s" in notes:
        logger.warning("%s is truncated: %s s at its end are missing", video, notes["missing_s"])
    if "unused_s" in notes:
        logger.warning("%s: its states continue for %s s after its end, which are not used", video, notes["unused_s"])
    if "time_unit" in notes:
        logger.info("%s: the times of its states are read as %s", video, notes["time_unit"])


def _common_size(videos: Iterable[Path]) -> tuple[int, int]:
    sizes = {frame_size(video): video for video in videos}
    if len(sizes) > 1:
        listed = ", ".join(f"{height} x {width} ({path.name})" for (height, width), path in sizes.items())
        raise InvalidInputError(f"the videos differ in size: {listed}; set an image size for all of them")
    return next(iter(sizes))


def _check_offsets(offsets: Sequence[int]) -> None:
    if not offsets or len(set(offsets)) != len(offsets) or min(offsets) < 0:
        raise InvalidInputError(
            f"offsets: expected one or more different frame offsets of at least 0, got {tuple(offsets)}"
        )
