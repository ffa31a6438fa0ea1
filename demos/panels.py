"""Enlarges pictures smoothly, and joins labelled ones."""

from collections.abc import Sequence

import numpy as np

from hwm_env.errors import require_extra
from hwm_env.types import UInt8Array

require_extra("PIL.Image", "demo")

from PIL import Image, ImageDraw, ImageFont  # noqa: E402

LABEL_PIXELS = 22


def smooth(frame: UInt8Array, pixels: int) -> UInt8Array:
    """Resizes a frame [S, S, 3] to [pixels, pixels, 3] by cubic interpolation."""
    return np.asarray(Image.fromarray(frame).resize((pixels, pixels), Image.Resampling.BICUBIC))


def panel(frame: UInt8Array, label: str, pixels: int) -> UInt8Array:
    """Enlarges a frame [S, S, 3] to `pixels` x `pixels` below a label: [pixels + 22, pixels, 3]."""
    picture = Image.new("RGB", (pixels, pixels + LABEL_PIXELS), "white")
    ImageDraw.Draw(picture).text((5, 3), label, fill="black", font=ImageFont.load_default(size=14))
    picture.paste(Image.fromarray(smooth(frame, pixels)), (0, LABEL_PIXELS))
    return np.asarray(picture)


def side_by_side(panels: Sequence[UInt8Array]) -> UInt8Array:
    """Joins panels of equal height from left to right."""
    return np.concatenate(list(panels), axis=1)
