"""Converts frames of videos and picture files to what a player shows: deinterlaced, in RGB, square pixels, upright."""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Final

import numpy as np

from hwm_env.errors import DatasetError, require_extra
from hwm_env.types import UInt8Array

MAX_PIXELS: Final = 2**25
"""Maximum number of pixels of a picture, as stored and as shown; just above 8K (7680 x 4320)."""
_AXES_RATIO: Final = np.tan(np.radians(1))
"""A display matrix within one degree of the axes counts as a multiple of 90 degrees, as in FFmpeg."""
_DEEP_MODES: Final = ("I", "F", "I;16")
"""Beginnings of Pillow's modes with one channel of more than 8 bits, such as depths, which it would clip at 255."""
_DAMAGED: Final = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, zlib.error)
"""Errors that Pillow raises for damaged files."""


def deinterlaced(stream: Any, frames: Iterable[Any]) -> Iterator[Any]:
    """Yields each frame, interlaced ones with their missing lines interpolated (FFmpeg's yadif)."""
    av = require_extra("av", "data")
    graph = None
    for frame in frames:
        if graph is None and frame.interlaced_frame:
            graph = av.filter.Graph()
            source = graph.add_buffer(template=stream)
            graph.link_nodes(source, graph.add("yadif", "deint=interlaced"), graph.add("buffersink")).configure()
        if graph is None:
            yield frame
        else:
            graph.push(frame)
            yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _ready(graph: Any) -> Iterator[Any]:
    """Yields the frames that a filter graph has ready; it needs the next frame to deinterlace one."""
    av = require_extra("av", "data")
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def shown(frame: Any, pixel_aspect: Fraction | None) -> UInt8Array:
    """Converts a decoded frame to the picture that a player shows.

    Args:
        frame: a decoded frame; its colour matrix, colour range and display matrix are applied.
        pixel_aspect: width of a stored pixel divided by its height; `None` means 1. Players keep the height and change
            the width.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        DatasetError: the display matrix turns the picture by an angle that is not a multiple of 90 degrees, or the
            picture is larger than `MAX_PIXELS`.
        MissingExtraError: Pillow is needed and not installed.
    """
    height, width = frame.height, frame.width
    if pixel_aspect:
        width = max(1, round(width * pixel_aspect))
    if width * height > MAX_PIXELS:
        raise DatasetError(f"expected pictures of at most {MAX_PIXELS} pixels, got one of {width} x {height} as shown")
    image: UInt8Array = frame.to_ndarray(format="rgb24")
    if width != frame.width:
        pillow = require_extra("PIL.Image", "data")
        image = np.asarray(pillow.fromarray(image).resize((width, height), pillow.Resampling.BILINEAR))
    try:
        matrix = frame.side_data["DISPLAYMATRIX"]
    except KeyError:
        return image
    return _turned(image, np.frombuffer(bytes(matrix), "=i4").reshape(3, 3)[:2, :2].astype(np.float64))


def _turned(image: UInt8Array, matrix: np.ndarray[Any, np.dtype[np.float64]]) -> UInt8Array:
    """Turns an image [H, W, 3] by its display matrix: pixel (x, y) moves to (x, y) @ matrix, without scale and shift.

    Raises:
        DatasetError: the angle is not a multiple of 90 degrees.
    """
    straight, crossed = np.abs(matrix.diagonal()), np.abs(np.fliplr(matrix).diagonal())
    if (crossed <= _AXES_RATIO * straight).all():
        flip_x, flip_y = matrix.diagonal() < 0
    elif (straight <= _AXES_RATIO * crossed).all():
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = matrix[1, 0] < 0, matrix[0, 1] < 0
    else:
        angle = np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))
        raise DatasetError(
            f"expected a display matrix that turns by a multiple of 90 degrees, got {angle:.0f}; turn the video with "
            "FFmpeg's filter rotate first"
        )
    return np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def decoded(content: bytes) -> UInt8Array:
    """Decodes a PNG or JPEG file to the picture that a viewer shows.

    It is turned upright as its Exif data say; transparency is left out.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        DatasetError: the file is damaged or of another format, has one channel of more than 8 bits, or is larger than
            `MAX_PIXELS`.
        MissingExtraError: Pillow is not installed.
    """
    pillow, operations = require_extra("PIL.Image", "data"), require_extra("PIL.ImageOps", "data")
    try:
        picture = pillow.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise DatasetError(f"expected a picture of at most {MAX_PIXELS} pixels: {error}") from error
    except _DAMAGED as error:
        raise DatasetError(f"expected a PNG or JPEG file, got {len(content)} bytes that are none") from error
    with picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise DatasetError(
                f"expected a picture of at most {MAX_PIXELS} pixels, got one of {picture.width} x {picture.height}"
            )
        if picture.mode.startswith(_DEEP_MODES):
            raise DatasetError("expected 8 bits a channel, got more, as depths have")
        try:
            return np.asarray(operations.exif_transpose(picture).convert("RGB"))
        except _DAMAGED as error:
            raise DatasetError(f"the picture cannot be decoded ({error})") from error


def middle_square(image: UInt8Array, size: int) -> UInt8Array:
    """Cuts the largest square out of the middle of an image and scales it by area.

    Args:
        image: uint8 [H, W, 3].
        size: height and width of the result in pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    height, width = image.shape[:2]
    if height == width == size:
        return image
    pillow = require_extra("PIL.Image", "data")
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    return np.asarray(pillow.fromarray(square).resize((size, size), pillow.Resampling.BOX))
