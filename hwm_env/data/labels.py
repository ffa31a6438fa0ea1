"""Labelled pictures, written with Pillow's built-in font (the extra "evaluation")."""

from typing import Final

import numpy as np

from hwm_env.errors import require_extra
from hwm_env.types import UInt8Array

STRIP_HEIGHT: Final = 24
FONT_SIZE: Final = 15
MARGIN: Final = 6
GAP: Final = 4
"""Between two pictures side by side; all of these in pixels."""
SMALLEST_SIDE: Final = 256
"""Of a picture that has room for a label, in pixels."""


def text_strip(text: str, width: int) -> UInt8Array:
    """White text on black, from the left; what is too long is cut off.

    Args:
        text: one line.
        width: in pixels.

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
    """A picture uint8 [H, W, 3], each pixel repeated as often as needed to have room for a label."""
    factor = max(1, -(-SMALLEST_SIDE // min(image.shape[:2])))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def labelled_pair(left: UInt8Array, right: UInt8Array, labels: tuple[str, str], footer: str) -> UInt8Array:
    """Two pictures side by side, a label above each and a line below both.

    Args:
        left: uint8 [H, W, 3].
        right: uint8 [H, W, 3].
        labels: of the left and the right one.
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
