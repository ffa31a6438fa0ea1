"""Labels pictures with Pillow's built-in font (the extra "evaluation")."""

from typing import Final

import numpy as np

from hwm_env.errors import require_extra
from hwm_env.types import UInt8Array

STRIP_HEIGHT: Final = 24
FONT_SIZE: Final = 15
MARGIN: Final = 6
GAP: Final = 4
"""Gap between two pictures side by side; all of these in pixels."""
SMALLEST_SIDE: Final = 256
"""Smallest side, in pixels, of a picture with room for a label."""


def text_strip(text: str, width: int) -> UInt8Array:
    """Draws white text on black, left-aligned; text that is too long is cut off.

    Args:
        text: one line.
        width: width of the strip in pixels.

    Returns:
        uint8 [24, width, 3].

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    image = require_extra("PIL.Image", "evaluation").new("RGB", (width, STRIP_HEIGHT))
    font = require_extra("PIL.ImageFont", "evaluation").load_default(size=FONT_SIZE)
    drawing = require_extra("PIL.ImageDraw", "evaluation").Draw(image)
    drawing.text((MARGIN, STRIP_HEIGHT // 2), text, font=font, fill="white", anchor="lm")
    return np.asarray(image)


def enlarged(image: UInt8Array) -> UInt8Array:
    """Enlarges a picture uint8 [H, W, 3] by repeating pixels until there is room for a label."""
    factor = max(1, -(-SMALLEST_SIDE // min(image.shape[:2])))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def labelled_pair(left: UInt8Array, right: UInt8Array, labels: tuple[str, str], footer: str) -> UInt8Array:
    """Draws two pictures side by side, with a label above each and a line below both.

    Args:
        left: uint8 [H, W, 3].
        right: uint8 [H, W, 3].
        labels: labels of the left and the right picture.
        footer: the line below.

    Returns:
        uint8 [24 + f * H + 24, 2 * f * W + 4, 3], f the whole number that makes H and W at least 256.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    halves = [
        np.concatenate([text_strip(label, large.shape[1]), large])
        for large, label in zip((enlarged(left), enlarged(right)), labels, strict=True)
    ]
    pair = np.concatenate([halves[0], np.zeros((len(halves[0]), GAP, 3), np.uint8), halves[1]], axis=1)
    return np.concatenate([pair, text_strip(footer, pair.shape[1])])
