"""Video files, through PyAV (the extra "data")."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np

from hwm_env.data.files import write_bytes
from hwm_env.errors import DatasetError, InvalidInputError, require_extra
from hwm_env.types import FRAME_RATE_HZ, Float64Array, Int64Array, UInt8Array

VIDEO_SUFFIXES: Final = (".mp4", ".mkv", ".mov", ".avi", ".webm")
_CRF: Final = "12"
"""x264's constant rate factor: visually lossless, since what is written is learned from and measured."""
_TIMESTAMP_ERROR_S: Final = 1e-3
"""Matroska and WebM round the times of frames to milliseconds."""
_REMEDY: Final = "copy it again, or repair it with: ffmpeg -i VIDEO -c:v libx264 -crf 12 repaired.mp4"


def write_video(path: Path, frames: UInt8Array, fps: int = FRAME_RATE_HZ) -> None:
    """Writes an MP4 file (H.264, yuv420p) that every player opens; atomically, and equal frames give equal bytes.

    Args:
        path: the file.
        frames: see `encode_video`.
        fps: frames a second.

    Raises:
        InvalidInputError: the frames are of another shape or type.
        MissingExtraError: PyAV is not installed.
        SavingError: it could not be written.
    """
    write_bytes(path, encode_video(frames, fps))


def encode_video(frames: UInt8Array, fps: int = FRAME_RATE_HZ) -> memoryview:
    """Returns the content of an MP4 file (see `write_video`).

    Args:
        frames: uint8 [N, H, W, 3], N at least 1. H.264 wants even sides: of an odd one, the last row or column is
            repeated.
        fps: frames a second.

    Raises:
        InvalidInputError: the frames are of another shape or type.
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
        # x264 codes differently with another number of threads and, with its macroblock tree, from process to process
        # in those that draw with OpenGL.
        stream = container.add_stream(
            "libx264", rate=fps, options={"crf": _CRF, "threads": "1", "x264-params": "mbtree=0"}
        )
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in even:
            # Left to the encoder, the conversion differs even from call to call.
            converted = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(converted))
        container.mux(stream.encode())
    return content.getbuffer()


def frame_size(path: Path) -> tuple[int, int]:
    """Height and width of a video in pixels.

    Raises:
        DatasetError: the file is no video.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(path) as stream:
        return stream.height, stream.width


def frame_times(path: Path) -> Float64Array:
    """When each frame of a video is shown, by its own time stamp; nothing is decoded.

    Returns:
        float64 [M], seconds since the first frame, ascending.

    Raises:
        DatasetError: the file is no video, is damaged, or has no frames, or frames whose times do not increase.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(path) as stream:
        stamps = [
            packet.dts if packet.pts is None else packet.pts
            for packet in stream.container.demux(stream)
            if packet.size and not packet.is_discard
        ]
        if not stamps or None in stamps:
            raise DatasetError(f"{path}: expected frames with times, found {len(stamps)} frames; {_REMEDY}")
        # Packets come in the order of decoding, frames in that of showing.
        times_s = np.sort(np.array(stamps, np.float64)) * float(stream.time_base)
    steps_s = np.diff(times_s)
    if (steps_s <= 0).any():
        frame = int(np.argmax(steps_s <= 0)) + 1
        raise DatasetError(f"{path}: expected times that increase, but that of frame {frame} does not; {_REMEDY}")
    relative: Float64Array = times_s - times_s[0]
    return relative


def resampled(times_s: Float64Array) -> Int64Array:
    """The frame that is nearest in time to each moment k / 30 s of a video; of two, the earlier.

    Args:
        times_s: float64 [M], ascending from 0: when the frames are shown.

    Returns:
        int64 [N], each in [0, M), ascending.
    """
    moments_s = np.arange(int((times_s[-1] + _TIMESTAMP_ERROR_S) * FRAME_RATE_HZ) + 1) / FRAME_RATE_HZ
    turns_s = (times_s[1:] + times_s[:-1]) / 2 + _TIMESTAMP_ERROR_S
    return np.searchsorted(turns_s, moments_s).astype(np.int64, copy=False)


def read_frames(path: Path, chosen: Int64Array, image_size: int | None) -> Iterator[UInt8Array]:
    """Decodes a video, a frame at a time.

    Args:
        path: the file.
        chosen: int64 [N], the frames that are wanted, ascending; some may be wanted several times.
        image_size: cut the largest square out of the middle and scale it by area to this many pixels; None: leave the
            frames as they are.

    Yields:
        uint8 [H, W, 3] for each of `chosen`.

    Raises:
        DatasetError: the file is damaged.
        MissingExtraError: PyAV or Pillow is not installed.
    """
    repeats = np.bincount(chosen).tolist()
    decoded = 0
    with _opened(path) as stream:
        for frame, count in zip(stream.container.decode(stream), repeats, strict=False):
            decoded += 1
            if count:
                image = _resized(frame.to_ndarray(format="rgb24"), image_size)
                yield from repeat(image, count)
    if decoded < len(repeats):
        raise DatasetError(
            f"{path}: expected at least {len(repeats)} frames, as its packets say, decoded {decoded}; {_REMEDY}"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The video stream of a file; what is wrong with the file becomes an error with its name."""
    av = require_extra("av", "data")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DatasetError(f"{path}: expected a video, found a file without one")
            yield container.streams.video[0]
    except av.error.FFmpegError as error:
        raise DatasetError(f"{path} cannot be read as a video ({error}); {_REMEDY}") from error


def _resized(image: UInt8Array, size: int | None) -> UInt8Array:
    """The middle square of an image [H, W, 3] as [size, size, 3]."""
    height, width = image.shape[:2]
    if size is None or height == width == size:
        return image
    pillow = require_extra("PIL.Image", "data")
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    return np.asarray(pillow.fromarray(square).resize((size, size), pillow.Resampling.BOX))
