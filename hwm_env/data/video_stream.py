"""Decodes the video stream of a file as far as possible, even if it is damaged (PyAV, the extra "data")."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hwm_env.data.pictures import MAX_PIXELS, deinterlaced
from hwm_env.errors import DatasetError, require_extra

REMEDY: Final = "copy it again, or repair it with: ffmpeg -i VIDEO -c:v libx264 -crf 12 repaired.mp4"
_LIMITS: Final = {"max_pixels": str(MAX_PIXELS)}
"""Options of FFmpeg's decoders, which check them before they allocate memory."""
_SEEK_MARGIN_S: Final = 1.0
"""Longer than a frame waits between its decoding and its display."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Opens the video stream of a file; errors raised in the block get the file's name as a prefix.

    Raises:
        DatasetError: the file is not a video, or its pictures are larger than `MAX_PIXELS`.
        MissingExtraError: PyAV is not installed.
    """
    av = require_extra("av", "data")
    try:
        with av.open(str(path), options=_LIMITS, metadata_errors="replace") as container:
            # The first stream may be a cover picture.
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise DatasetError("expected a video, found a file without a video stream that can be decoded")
            if not stream.width or not stream.height:
                raise DatasetError(f"expected pictures of 1 to {MAX_PIXELS} pixels, got none or larger ones; {REMEDY}")
            stream.codec_context.options = _LIMITS
            yield stream
    except av.error.FFmpegError as error:
        raise DatasetError(f"{path} cannot be read as a video ({error}); {REMEDY}") from error
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def packets(stream: Any) -> Iterator[Any]:
    """Yields the packets that contain frames, in the order of decoding.

    Raises:
        av.error.FFmpegError: the rest of the file cannot be read.
    """
    for packet in stream.container.demux(stream):
        if packet.size:
            yield packet


def stamp(packet: Any) -> int | None:
    """Returns when a packet's frame is shown, in the stream's time base."""
    shown: int | None = packet.dts if packet.pts is None else packet.pts
    return shown


class StreamDecoder:
    """Decodes a stream, and continues after frames that cannot be decoded.

    Args:
        stream: the stream, of a file that was just opened.
        start: time stamp of the first frame to yield; `None` means that of the file's first one.

    Attributes:
        stamps: time stamps of all frames read so far, from `start` on, ascending.
        error: error of the last frame that could not be decoded.
    """

    stamps: list[int]
    error: Exception | None

    def __init__(self, stream: Any, start: int | None = None) -> None:
        self.stamps = []
        self.error = None
        self._stream = stream
        self._start = start
        self._num_lost = 0
        if start is not None:
            # Key frames are found by the time of decoding, which is earlier than that of display.
            margin = int(_SEEK_MARGIN_S / stream.time_base)
            stream.container.seek(max(start - margin, stream.start_time or 0), stream=stream)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yields frames in the order of display, each with its index among the frames from `start` on."""
        stream = self._stream
        counts = has_no_times(stream)
        for position, frame in enumerate(deinterlaced(stream, self._frames())):
            if counts or frame.pts is None:
                yield position + self._num_lost, frame
                continue
            shown = round(frame.pts * frame.time_base / stream.time_base)
            if self._start is None or shown >= self._start:
                yield bisect_left(self.stamps, shown), frame

    def _note(self, stamp: int | None) -> None:
        if stamp is None:
            raise DatasetError(f"expected frames with times, found one without after {len(self.stamps)}; {REMEDY}")
        if self._start is None or stamp >= self._start:
            insort(self.stamps, stamp)

    def _frames(self) -> Iterator[Any]:
        """Yields the frames as FFmpeg's decoder returns them."""
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
                # Usually taken from the packet, and there are no more packets.
                frame.time_base = self._stream.time_base
                yield frame
        except av.error.FFmpegError as error:
            self.error = error


def without_holes(decoder: StreamDecoder, count: int) -> Iterator[tuple[int, Any, bool]]:
    """Replaces each frame that could not be decoded with the one before (at the beginning, with the first one).

    Args:
        decoder: the decoder of a stream.
        count: number of frames.

    Yields:
        The indices 0, 1, ... `count` - 1 in order, each with a frame and whether that is damaged or a replacement.

    Raises:
        DatasetError: no frame can be decoded, or the file has fewer frames.
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
    """Returns whether the file only counts frames, in the order of decoding, as AVI does."""
    return bool(stream.container.format.name == "avi")


def header_duration_s(stream: Any) -> float:
    """Returns the stream's duration by the file's header; 0 if unknown."""
    container = stream.container
    if has_no_times(stream):
        # FFmpeg shortens the duration of truncated files.
        return float(stream.frames / stream.average_rate) if stream.average_rate else 0.0
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    # The file's duration is that of its longest stream.
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / 1e6)
    return 0.0
