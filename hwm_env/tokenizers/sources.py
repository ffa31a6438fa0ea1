"""What can be tokenised: recordings with raw images, and directories of videos beside states."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from hwm_env.data.format import METADATA_FILE, ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import POSE_NAMES, StateMapping, read_states
from hwm_env.data.tables import TABLE_SUFFIXES
from hwm_env.data.videos import VIDEO_SUFFIXES, frame_size, frame_times, read_frames, resampled
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.types import FRAMES_PER_CLIP, Float32Array, Int32Array, UInt8Array

logger = logging.getLogger(__name__)


class Recording(NamedTuple):
    """A stretch of N frames at 30 Hz."""

    frames: Iterator[UInt8Array]
    """uint8 [H, W, 3] each."""
    states: Float32Array
    """float32 [N, 25]."""
    segments: Int32Array
    """int32 [N]."""
    poses: Float32Array | None
    """float32 [N, 3], where they are known."""


class Job(Protocol):
    """One shard to be made; travels to a worker process."""

    @property
    def source(self) -> str:
        """Which recording it is cut from: shards of one recording are never parted between training and validation."""
        ...

    def read(self) -> Recording:
        """Opens the recording."""
        ...


class Source(NamedTuple):
    """All shards that are to be made of something, and what there is to say about them."""

    jobs: Sequence[Job]
    image_size: tuple[int, int]
    """Height and width of all frames."""
    extra: dict[str, object]
    """For the metadata."""
    fingerprint: dict[str, object]
    """Changes when the source does."""


@dataclass(frozen=True, slots=True)
class _RecordedShard:
    """A shard of a recording, from a frame on."""

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
        )


@dataclass(frozen=True, slots=True)
class _VideoFrom:
    """A video and its states, from a frame on; one segment."""

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
        times = frame_times(self.video)
        chosen = resampled(times)
        states = read_states(self.states, self.mapping, times, len(chosen))
        frames = read_frames(self.video, chosen[self.offset :], self.image_size)
        values, poses = states.values[self.offset :], states.poses
        segments = np.full(len(values), self.segment, np.int32)
        return Recording(frames, values, segments, None if poses is None else poses[self.offset :])


def recording_source(directory: Path, offsets: Sequence[int]) -> Source:
    """The shards of a recording with raw images, each once from every offset on.

    Raises:
        InvalidInputError: no offsets, or they are negative, repeated, or as long as a shard.
        DatasetError: the recording has no raw images.
    """
    dataset = Dataset(directory)
    size = dataset.metadata.image_size
    if size is None or not dataset.has(ShardFile.FRAMES):
        raise DatasetError(f"{directory} has no raw images to encode; record some with: hwm-env collect")
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
    """The videos of a directory, each a segment, once from every offset on; too short ones are left out.

    Args:
        directory: holds videos, each beside its states: `walk.mp4` and `walk.csv`, `.parquet` or `.npy`.
        offsets: frames to leave out at the beginning.
        mapping: what the states' columns mean.
        image_size: height and width to crop and resize to; None: all videos have one size, and keep it.

    Raises:
        DatasetError: there are no videos, states are missing or do not fit, or all videos are too short.
        InvalidInputError: no offsets, or they are negative or repeated; or the videos differ in size.
    """
    _check_offsets(offsets)
    if image_size is not None and image_size < 1:
        raise InvalidInputError(f"the image size must be at least 1 pixel, got {image_size}")
    videos = sorted(path for path in directory.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise DatasetError(
            f"{directory}: expected a metadata.json or videos ({', '.join(VIDEO_SUFFIXES)}), found neither"
        )
    size = _common_size(videos) if image_size is None else (image_size, image_size)
    jobs: list[_VideoFrom] = []
    filled: dict[str, float] = {}
    posed: dict[Path, bool] = {}
    for segment, video in enumerate(videos):
        states, times = _states_beside(video), frame_times(video)
        num_frames = len(resampled(times))
        # Whatever is wrong with a table shows before hours of work, not after.
        read = read_states(states, mapping, times, num_frames)
        filled |= read.filled
        posed[states] = read.poses is not None
        if num_frames - max(offsets) < FRAMES_PER_CLIP:
            logger.warning("%s is left out: %d frames are less than a clip and the offset", video, num_frames)
            continue
        jobs += [_VideoFrom(video, states, mapping, image_size, segment, offset) for offset in offsets]
    if not jobs:
        raise DatasetError(f"{directory}: all {len(videos)} videos are shorter than a clip ({FRAMES_PER_CLIP} frames)")
    if len(set(posed.values())) > 1:
        lacking = [path.name for path, has in posed.items() if not has]
        raise DatasetError(
            f"{directory}: {len(posed) - len(lacking)} tables give the pose of the base, {len(lacking)} do not, such "
            f"as {lacking[0]}; add {', '.join(POSE_NAMES)} to those, or leave them out of all"
        )
    for name, value in filled.items():
        logger.warning("nothing gives %s: %g stands for it", name, value)
    files = [file for video in videos for file in (video, _states_beside(video))]
    by_offset = [job for offset in offsets for job in jobs if job.offset == offset]
    return Source(
        by_offset,
        size,
        {"source": "videos", "mapping": mapping.to_json(), "filled_actions": filled},
        {
            "files": [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files],
            "mapping": mapping.to_json(),
            "image_size": image_size,
        },
    )


def _states_beside(video: Path) -> Path:
    found = [path for suffix in TABLE_SUFFIXES if (path := video.with_suffix(suffix)).is_file()]
    if len(found) != 1:
        raise DatasetError(
            f"{video}: expected its states beside it in one of "
            f"{', '.join(video.with_suffix(suffix).name for suffix in TABLE_SUFFIXES)}, found {len(found)} of them"
        )
    return found[0]


def _common_size(videos: Sequence[Path]) -> tuple[int, int]:
    sizes = {frame_size(video): video for video in videos}
    if len(sizes) > 1:
        listed = ", ".join(f"{height} x {width} ({path.name})" for (height, width), path in sizes.items())
        raise InvalidInputError(f"the videos differ in size: {listed}; give an image size to bring them to")
    return next(iter(sizes))


def _check_offsets(offsets: Sequence[int]) -> None:
    if not offsets or len(set(offsets)) != len(offsets) or min(offsets) < 0:
        raise InvalidInputError(
            f"offsets: expected one or more different frame offsets of at least 0, got {tuple(offsets)}"
        )
