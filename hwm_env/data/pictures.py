"""Decoded frames as a player shows them: progressive, in their colours, with square pixels and the right way up."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Final

import numpy as np

from hwm_env.errors import DatasetError, require_extra
from hwm_env.types import UInt8Array

MAX_PIXELS: Final = 2**25
"""Of one picture, as stored and as shown; just above 8K (7680 x 4320)."""
_AXES_RATIO: Final = np.tan(np.radians(1))
"""A display matrix within one degree of the axes turns by a multiple of 90 degrees, as in FFmpeg."""


def deinterlaced(stream: Any, frames: Iterable[Any]) -> Iterator[Any]:
    """Interpolates the missing lines of interlaced frames (FFmpeg's yadif), and passes on all others; one for one."""
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
    """The frames that a filter graph can give now; it needs the next one to deinterlace one."""
    av = require_extra("av", "data")
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def shown(frame: Any, pixel_aspect: Fraction | None) -> UInt8Array:
    """The picture that a player shows.

    Args:
        frame: a decoded frame; its colour matrix, colour range and display matrix are obeyed.
        pixel_aspect: width of a stored pixel by its height; None: 1. Players keep the height and change the width.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        DatasetError: it is to be shown at an angle, or larger than `MAX_PIXELS`.
        MissingExtraError: Pillow is needed and not installed.
    """
    height, width = frame.height, frame.width
    if pixel_aspect:
        width = max(1, round(width * pixel_aspect))
    if width * height > MAX_PIXELS:
        raise DatasetError(f"a picture of {width} x {height} pixels is shown, expected at most {MAX_PIXELS} pixels")
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
    """An image [H, W, 3] as its display matrix shows it: pixel (x, y) goes to (x, y) @ matrix, but for scale and shift.

    Raises:
        DatasetError: the axes do not become axes.
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
            f"it is to be shown turned by {angle:.0f} degrees, expected a multiple of 90; turn it with FFmpeg's filter "
            "rotate first"
        )
    return np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def middle_square(image: UInt8Array, size: int) -> UInt8Array:
    """Cuts the largest square out of the middle of an image, and scales it by area.

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
