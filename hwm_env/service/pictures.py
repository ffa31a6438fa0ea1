"""Frames as PNG, JPEG or raw bytes."""

import base64
import io
from typing import Final

from hwm_env.errors import require_extra
from hwm_env.remote.messages import Encoding, Frames
from hwm_env.types import UInt8Array

_JPEG_QUALITY: Final = 90


def encoded_frames(frames: UInt8Array, encoding: Encoding) -> Frames:
    """Returns frames uint8 [N, S, S, 3] as a message."""
    contents = [frames.tobytes()] if encoding == "raw" else [_picture(frame, encoding) for frame in frames]
    data = [base64.b64encode(content).decode() for content in contents]
    return Frames(encoding=encoding, shape=list(frames.shape), data=data)


def _picture(frame: UInt8Array, encoding: Encoding) -> bytes:
    content = io.BytesIO()
    options = {"quality": _JPEG_QUALITY, "subsampling": 0} if encoding == "jpeg" else {"compress_level": 1}
    require_extra("PIL.Image", "serve").fromarray(frame).save(content, encoding.upper(), **options)
    return content.getvalue()
