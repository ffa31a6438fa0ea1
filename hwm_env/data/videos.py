"""Reads and writes video files with PyAV (the extra "data")."""

import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np

from hwm_env.data.containers import is_cut_off
from hwm_env.data.files import write_bytes
from hwm_env.data.pictures import middle_square, shown
from hwm_env.data.video_stream import (
    REMEDY,
    StreamDecoder,
    has_no_times,
    header_duration_s,
    opened,
    packets,
    stamp,
    without_holes,
)
from hwm_env.errors import DatasetError, InvalidInputError, require_extra
from hwm_env.types import FRAME_RATE_HZ, Float64Array, Int64Array, UInt8Array

VIDEO_SUFFIXES: Final = (".mp4", ".mkv", ".mov", ".avi", ".webm")
MAX_DURATION_S: Final = 24 * 3600.0
"""Longer videos have wrong time stamps; their states alone would take gigabytes."""
_CRF: Final = "12"
"""x264's constant rate factor: visually lossless, since the videos are used for training and measurement."""
_PRESET: Final = "veryfast"
"""Much faster than x264's default, for files of about the same size."""
_TIMESTAMP_ERROR_S: Final = 1e-3
"""Matroska and WebM round the times of frames to milliseconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrameTimes:
    """When the frames of a video are shown, by their own time stamps."""

    times_s: Float64Array
    """float64 [M], seconds since the first frame, ascending."""
    duration_s: float
    """Duration by the file's header; at least the time of the last frame."""
    breaks_off: bool
    """Whether the file is truncated: its end cannot be read, or is earlier than the header says."""
    stamps: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    """int64 [M], the times as in the file, in units of the stream's time base."""

    @property
    def chosen(self) -> Int64Array:
        """Indices of the frames shown at 30 Hz, as `resampled` returns them."""
        return resampled(self.times_s)

    @property
    def num_held(self) -> int:
        """Number of frames at 30 Hz that repeat a picture for longer than the camera's rate explains."""
        if len(self.times_s) < 2:
            return 0
        chosen = self.chosen
        usual_s = max(float(np.median(np.diff(self.times_s))), 1 / FRAME_RATE_HZ) / 2
        away_s = np.abs(self.times_s[chosen] - np.arange(len(chosen)) / FRAME_RATE_HZ)
        return int((away_s > usual_s + 2 * _TIMESTAMP_ERROR_S).sum())


@dataclass(slots=True)
class Damage:
    """Counts the frames that could not be decoded while a video is read."""

    num_frames: int = 0
    """Frames at 30 Hz that show an earlier picture instead of their own, or a damaged one."""


def write_video(path: Path, frames: UInt8Array, fps: int = FRAME_RATE_HZ) -> None:
    """Writes an MP4 file (H.264, yuv420p) atomically; equal frames result in equal bytes.

    Args:
        path: the file.
        frames: see `encode_video`.
        fps: frames a second.

    Raises:
        InvalidInputError: `frames` has another shape or type.
        MissingExtraError: PyAV is not installed.
        SavingError: the file could not be written.
    """
    write_bytes(path, encode_video(frames, fps))


def encode_video(
    frames: UInt8Array, fps: int = FRAME_RATE_HZ, after_frame: Callable[[], object] = lambda: None
) -> memoryview:
    """Returns the content of an MP4 file (see `write_video`).

    Args:
        frames: uint8 [N, H, W, 3], N at least 1. H.264 needs even sides; for an odd side, the last line of pixels is
            repeated.
        fps: frames a second.
        after_frame: called after each encoded frame.

    Raises:
        InvalidInputError: `frames` has another shape or type.
        MissingExtraError: PyAV is not installed.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.size == 0 or frames.dtype != np.uint8:
        raise InvalidInputError(
            f"frames: expected uint8 [N, H, W, 3] with N at least 1, got {frames.dtype} {list(frames.shape)}"
        )
    av = require_extra("av", "data")
    even = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        # x264's output depends on the number of threads and, with its macroblock tree, differs between processes that
        # render with OpenGL.
        stream = container.add_stream(
            "libx264", rate=fps, options={"crf": _CRF, "preset": _PRESET, "threads": "1", "x264-params": "mbtree=0"}
        )
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in even:
            # The encoder's own conversion differs from call to call.
            converted = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(converted))
            after_frame()
        container.mux(stream.encode())
    return content.getbuffer()


def frame_size(path: Path) -> tuple[int, int]:
    """Returns the height and width of a video as players show it, in pixels.

    Raises:
        DatasetError: the file is not a video, its first frame cannot be decoded, or it is larger than `MAX_PIXELS`.
        MissingExtraError: PyAV is not installed.
    """
    for image in read_frames(path, np.zeros(1, np.int64), None):
        return image.shape[0], image.shape[1]
    raise AssertionError(f"no frame of {path}, and no error")


def timeline(path: Path) -> FrameTimes:
    """Reads when each frame of a video is shown, without decoding it.

    Raises:
        DatasetError: the file is not a video or has no frames, or the frames' times do not increase or span more than
            a day.
        MissingExtraError: PyAV is not installed.
    """
    av = require_extra("av", "data")
    stamps: list[int | None] = []
    with opened(path) as stream:
        breaks_off = is_cut_off(path)
        try:
            stamps += (stamp(packet) for packet in packets(stream) if not packet.is_discard)
        except av.error.FFmpegError:
            breaks_off = True
        if not stamps or None in stamps:
            raise DatasetError(f"expected frames with times, found {len(stamps)} frames; {REMEDY}")
        # Packets are in the order of decoding, frames in the order of display.
        ordered = np.sort(np.array(stamps, np.int64))
        times_s = ordered.astype(np.float64) * float(stream.time_base)
        times_s -= times_s[0]
        steps_s = np.diff(times_s)
        if (steps_s <= 0).any():
            frame = int(np.argmax(steps_s <= 0)) + 1
            raise DatasetError(f"expected times that increase, but that of frame {frame} does not; {REMEDY}")
        duration_s = max(header_duration_s(stream), float(times_s[-1]))
        if duration_s > MAX_DURATION_S:
            raise DatasetError(
                f"expected at most {MAX_DURATION_S:.0f} s, got {len(stamps)} frames in {duration_s:.0f} s; cut it, or "
                "repair its time stamps"
            )
        step_s = float(np.median(steps_s)) if len(steps_s) else 0.0
        missing_s = duration_s - float(times_s[-1]) - step_s
        is_short = missing_s > step_s / 2 + _TIMESTAMP_ERROR_S
        if is_short and has_no_times(stream) and not breaks_off:
            raise DatasetError(
                f"{missing_s / step_s:.0f} of its frames are lost in the middle, and AVI files do not say when the "
                f"others are shown; {REMEDY}"
            )
    return FrameTimes(times_s=times_s, duration_s=duration_s, breaks_off=breaks_off or is_short, stamps=ordered)


def frame_times(path: Path) -> Float64Array:
    """Returns the times of a video's frames: float64 [M], seconds since the first frame, ascending."""
    return timeline(path).times_s


def resampled(times_s: Float64Array) -> Int64Array:
    """Returns the frame that is nearest to each time k / 30 s of a video; of two equally near ones, the earlier.

    Args:
        times_s: float64 [M], when the frames are shown, ascending from 0.

    Returns:
        int64 [N], each in [0, M), ascending.
    """
    wanted_s = np.arange(int((times_s[-1] + _TIMESTAMP_ERROR_S) * FRAME_RATE_HZ) + 1) / FRAME_RATE_HZ
    turns_s = (times_s[1:] + times_s[:-1]) / 2 + _TIMESTAMP_ERROR_S
    return np.searchsorted(turns_s, wanted_s).astype(np.int64, copy=False)


def read_frames(
    path: Path, chosen: Int64Array, image_size: int | None, damage: Damage | None = None, start: int | None = None
) -> Iterator[UInt8Array]:
    """Decodes a video as players show it, one frame at a time.

    A frame that cannot be decoded is replaced with the one before (at the beginning, with the first one); a warning is
    logged with their number.

    Args:
        path: the file.
        chosen: int64 [N], indices of the frames to return, ascending; they may repeat.
        image_size: side in pixels to which the largest square in the middle of each frame is scaled by area; `None`
            leaves the frames unchanged.
        damage: counts damaged frames.
        start: time stamp (see `FrameTimes.stamps`) of the frame that is number 0 in `chosen`; earlier frames are
            skipped. `None` means the first one.

    Yields:
        uint8 [H, W, 3] for each of `chosen`.

    Raises:
        DatasetError: fewer than half of the frames can be decoded, there are fewer than `chosen` needs, they are larger
            than `MAX_PIXELS`, change their size, or are turned by an angle that is not a multiple of 90 degrees.
        MissingExtraError: PyAV or Pillow is not installed.
    """
    damage = Damage() if damage is None else damage
    repeats = np.bincount(chosen).tolist()
    converted, image = None, np.empty(0, np.uint8)
    with opened(path) as stream:
        for index, frame, is_damaged in without_holes(StreamDecoder(stream, start), len(repeats)):
            if repeats[index]:
                if frame is not converted:
                    converted, image = frame, _converted(frame, stream.sample_aspect_ratio, image_size, image)
                damage.num_frames += repeats[index] if is_damaged else 0
                yield from repeat(image, repeats[index])
        if 2 * damage.num_frames > len(chosen):
            raise DatasetError(f"{damage.num_frames} of {len(chosen)} frames cannot be decoded; {REMEDY}")
    if damage.num_frames:
        text = "%s is damaged: %d of %d frames cannot be decoded; the frame before replaces them"
        logger.warning(text, path, damage.num_frames, len(chosen))


def _converted(frame: Any, pixel_aspect: Fraction | None, image_size: int | None, before: UInt8Array) -> UInt8Array:
    """Converts a frame to its final size, which must equal that of the frame before, if any."""
    image = shown(frame, pixel_aspect)
    if image_size is not None:
        return middle_square(image, image_size)
    if before.size and image.shape != before.shape:
        sizes = " to ".join(f"{height} x {width}" for height, width, _ in (before.shape, image.shape))
        raise DatasetError(f"its size changes from {sizes}; set an image size for all frames")
    return image
