"""Takes: videos or episodes of LeRobot data sets with their states, from which the tokenizer makes a segment each."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from hwm_env.data.state_tables import POSE_NAMES, States
from hwm_env.data.videos import Damage, FrameTimes
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.robot import Robot
from hwm_env.tokenizers.sources import Recording, Source, check_offsets
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, Int64Array, UInt8Array

NOTED_SHARE: Final = 0.01
"""A larger share of held or interpolated frames or states causes a warning."""

logger = logging.getLogger(__name__)


class Take(Protocol):
    """A video, or an episode of a LeRobot data set, with its states; one segment."""

    @property
    def name(self) -> str:
        """Name in metadata and messages."""
        ...

    @property
    def video(self) -> Path:
        """File with the pictures."""
        ...

    @property
    def table(self) -> Path:
        """File with the states."""
        ...

    def size(self) -> tuple[int, int]:
        """Returns the height and width of the pictures in pixels.

        Raises:
            DatasetError: the file cannot be read.
        """
        ...

    def times(self) -> FrameTimes:
        """Returns when the pictures are shown, in seconds after the first one.

        Raises:
            DatasetError: the file cannot be read.
        """
        ...

    def states(self, times: FrameTimes) -> States:
        """Returns the states at 30 Hz.

        Raises:
            HWMError: the table cannot be read, or does not fit to the video.
        """
        ...

    def frames(
        self, times: FrameTimes, chosen: Int64Array, image_size: int | None, damage: Damage
    ) -> Iterator[UInt8Array]:
        """Decodes some of the pictures; see `hwm_env.data.videos.read_frames`."""
        ...


@dataclass(frozen=True, slots=True)
class _TakeFrom:
    """A take, beginning at frame `offset`."""

    take: Take
    image_size: int | None
    segment: int
    offset: int

    @property
    def source(self) -> str:
        return self.take.name

    def read(self) -> Recording:
        times = self.take.times()
        chosen, damage = times.chosen, Damage()
        states = self.take.states(times)
        frames = self.take.frames(times, chosen[self.offset :], self.image_size, damage)
        values, poses = states.values[self.offset :], states.poses
        segments = np.full(len(values), self.segment, np.int32)
        return Recording(frames, values, segments, None if poses is None else poses[self.offset :], damage)


def source_of_takes(
    directory: Path,
    takes: Mapping[int, Take],
    offsets: Sequence[int],
    image_size: int | None,
    robot: Robot,
    extra: Mapping[str, object],
    fingerprint: Mapping[str, object],
) -> Source:
    """Returns one shard for each take and offset.

    Takes shorter than a clip are left out.

    Args:
        directory: where they are, for messages.
        takes: the takes by the numbers of their segments.
        offsets: frames to leave out at the beginning.
        image_size: height and width to which pictures are cropped and resized; with `None`, all must have one size, and
            keep it.
        robot: the robot in all of them.
        extra: metadata of the data set; those on fills and deviations are added.
        fingerprint: identifies the options; files and image size are added.

    Raises:
        DatasetError: files cannot be read or do not fit, or all takes are too short.
        InvalidInputError: `offsets` is empty, negative or repeated, or the videos differ in size.
    """
    check_offsets(offsets)
    if image_size is not None and image_size < 1:
        raise InvalidInputError(f"the image size must be at least 1 pixel, got {image_size}")
    size = _common_size(takes.values()) if image_size is None else (image_size, image_size)
    jobs: list[_TakeFrom] = []
    filled: dict[str, float] = {}
    posed: dict[Path, bool] = {}
    notes: dict[str, dict[str, float | str]] = {}
    for segment, take in takes.items():
        times = take.times()
        num_frames = len(times.chosen)
        # Read here, so that an error in a table is found before hours of work.
        states = take.states(times)
        filled |= states.filled
        posed[take.table] = states.poses is not None
        if num_frames - max(offsets) < FRAMES_PER_CLIP:
            text = "%s is left out: %d frames are less than a clip and the offset"
            logger.warning(text, directory / take.name, num_frames)
            continue
        if take_notes := {**_notes_on_pictures(take, times), **states.notes}:
            notes[take.name] = take_notes
        _warn(directory / take.name, num_frames, take_notes)
        jobs += [_TakeFrom(take, image_size, segment, offset) for offset in offsets]
    if not jobs:
        raise DatasetError(f"{directory}: all {len(takes)} videos are shorter than a clip ({FRAMES_PER_CLIP} frames)")
    if len(set(posed.values())) > 1:
        lacking = [path.name for path, has in posed.items() if not has]
        raise DatasetError(
            f"{directory}: {len(posed) - len(lacking)} tables contain the pose of the base, {len(lacking)} do not, "
            f"such as {lacking[0]}; add {', '.join(POSE_NAMES)} to those, or remove them from all"
        )
    for name, value in filled.items():
        if name not in robot.unused:
            logger.warning("no column contains %s: using %g", name, value)
    files = dict.fromkeys(file for take in takes.values() for file in (take.video, take.table))
    return Source(
        [job for offset in offsets for job in jobs if job.offset == offset],
        size,
        robot,
        {**extra, "filled_actions": filled, "recording_notes": notes},
        {
            "files": [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files],
            **fingerprint,
            "image_size": image_size,
        },
    )


def _notes_on_pictures(take: Take, times: FrameTimes) -> dict[str, float | str]:
    """Returns notes on repeated and missing frames of a video, as `States.notes` does for states.

    Raises:
        DatasetError: most of its frames are missing.
    """
    num_frames = len(times.chosen)
    if 2 * times.num_held > num_frames:
        raise DatasetError(
            f"{take.video}: expected pictures throughout, but {times.num_held} of {num_frames} frames at "
            f"{FRAME_RATE_HZ} Hz have none of their own ({len(times.times_s)} pictures in {times.times_s[-1]:.3f} s); "
            "cut or repair it"
        )
    notes: dict[str, float | str] = {"held_pictures": times.num_held} if times.num_held else {}
    if times.breaks_off:
        notes["missing_s"] = round(times.duration_s - float(times.times_s[-1]), 3)
    return notes


def _warn(take: Path, num_frames: int, notes: Mapping[str, float | str]) -> None:
    """Logs warnings about what may make a recording useless, if it exceeds `NOTED_SHARE`."""
    for name in ("held_pictures", "interpolated_states", "held_states"):
        count = notes.get(name, 0)
        if isinstance(count, int) and count > max(1, NOTED_SHARE * num_frames):
            what, kind = name.split("_")
            logger.warning("%s: %d of %d %s are %s, since their own are missing", take, count, num_frames, kind, what)
    if "missing_s" in notes:
        logger.warning("%s is truncated: %s s at its end are missing", take, notes["missing_s"])
    if "unused_s" in notes:
        logger.warning("%s: its states continue for %s s after its end, which are not used", take, notes["unused_s"])
    if "time_unit" in notes:
        logger.info("%s: the times of its states are read as %s", take, notes["time_unit"])


def _common_size(takes: Iterable[Take]) -> tuple[int, int]:
    # Episodes may share a video.
    by_video = {take.video: take for take in takes}
    sizes = {take.size(): video for video, take in by_video.items()}
    if len(sizes) > 1:
        listed = ", ".join(f"{height} x {width} ({path.name})" for (height, width), path in sizes.items())
        raise InvalidInputError(f"the videos differ in size: {listed}; set an image size for all of them")
    return next(iter(sizes))
