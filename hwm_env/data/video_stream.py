"""The video stream of a file, read and decoded as far as it can be (PyAV, the extra "data")."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hwm_env.data.pictures import MAX_PIXELS, deinterlaced
from hwm_env.errors import DatasetError, require_extra

REMEDY: Final = "copy it again, or repair it with: ffmpeg -i VIDEO -c:v libx264 -crf 12 repaired.mp4"
_LIMITS: Final = {"max_pixels": str(MAX_PIXELS)}
"""For FFmpeg's decoders, which check it before they allocate anything."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The video stream of a file; the file's name is put before all errors of the block.

    Raises:
        DatasetError: the file is no video, or its pictures are larger than `MAX_PIXELS`.
        MissingExtraError: PyAV is not installed.
    """
    av = require_extra("av", "data")
    try:
        with av.open(str(path), options=_LIMITS, metadata_errors="replace") as container:
            # Not simply the first one: that may be the picture on a cover.
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise DatasetError("expected a video, found a file without one that can be decoded")
            if not stream.width or not stream.height:
                raise DatasetError(f"expected pictures of 1 to {MAX_PIXELS} pixels, got none or larger ones; {REMEDY}")
            stream.codec_context.options = _LIMITS
            yield stream
    except av.error.FFmpegError as error:
        raise DatasetError(f"{path} cannot be read as a video ({error}); {REMEDY}") from error
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def packets(stream: Any) -> Iterator[Any]:
    """The packets that hold frames which are to be shown, in the order of decoding.

    Raises:
        av.error.FFmpegError: the file cannot be read on.
    """
    for packet in stream.container.demux(stream):
        if packet.size:
            yield packet


def stamp(packet: Any) -> int | None:
    """When a packet's frame is shown, in the stream's time base."""
    shown: int | None = packet.dts if packet.pts is None else packet.pts
    return shown


class StreamDecoder:
    """Decodes a stream, and goes on after what cannot be decoded.

    Attributes:
        stamps: of all frames that were read so far, ascending.
        error: of the last one that could not be decoded.
    """

    stamps: list[int]
    error: Exception | None

    def __init__(self, stream: Any) -> None:
        self.stamps = []
        self.error = None
        self._stream = stream
        self._num_lost = 0

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yields frames in the order of showing, each with its place among all frames of the file."""
        stream = self._stream
        counts = has_no_times(stream)
        for position, frame in enumerate(deinterlaced(stream, self._frames())):
            if counts or frame.pts is None:
                yield position + self._num_lost, frame
            else:
                yield bisect_left(self.stamps, round(frame.pts * frame.time_base / stream.time_base)), frame

    def _note(self, stamp: int | None) -> None:
        if stamp is None:
            raise DatasetError(f"expected frames with times, found one without after {len(self.stamps)}; {REMEDY}")
        insort(self.stamps, stamp)

    def _frames(self) -> Iterator[Any]:
        """The frames as they come out of FFmpeg's decoder."""
        av = require_extra("av", "data")
        try:
            for packet in packets(self._stream):
                if not packet.is_discard:
                    self._note(stamp(packet))
                try:
                    yield from self._stream.decode(packet)
                except av.error.FFmpegError as error:
                    self.error = error
                    self._num_lost += 1
        except av.error.FFmpegError as error:
            self.error = error
        try:
            for frame in self._stream.decode(None):
                # It stands in the packets, of which there are no more.
                frame.time_base = self._stream.time_base
                yield frame
        except av.error.FFmpegError as error:
            self.error = error


def without_holes(decoder: StreamDecoder, count: int) -> Iterator[tuple[int, Any, bool]]:
    """Puts the frame before (at the beginning: the first one) in the place of each that could not be decoded.

    Args:
        decoder: a stream's.
        count: how many frames are wanted.

    Yields:
        All of 0, 1, ... `count` - 1 in order, with a frame for each and whether that is damaged or another's.

    Raises:
        DatasetError: nothing can be decoded, or the file has fewer frames.
    """
    due, before = 0, None
    for index, frame in decoder:
        for missing in range(due, min(index, count)):
            yield missing, frame if before is None else before, True
        if due <= index < count:
            yield index, frame, frame.is_corrupt
        due, before = max(due, index + 1), frame
        if due >= count:
            return
    if before is None or len(decoder.stamps) < count:
        reason = "" if decoder.error is None else f" ({decoder.error})"
        raise DatasetError(
            f"expected at least {count} frames, found {len(decoder.stamps)}, decoded {due}{reason}; {REMEDY}"
        )
    for missing in range(due, count):
        yield missing, before, True


def has_no_times(stream: Any) -> bool:
    """Whether the file only counts frames, in the order of decoding, as AVI does."""
    return bool(stream.container.format.name == "avi")


def header_duration_s(stream: Any) -> float:
    """How long the stream is by the file's header; 0: it does not say."""
    container = stream.container
    if has_no_times(stream):
        # FFmpeg shortens the duration of those that are cut off.
        return float(stream.frames / stream.average_rate) if stream.average_rate else 0.0
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    # The file is as long as its longest stream.
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / 1e6)
    return 0.0
