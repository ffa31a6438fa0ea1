"""From frames in an answer to arrays."""

import base64
import binascii
import math

import numpy as np

from hwm_env.errors import ServiceError
from hwm_env.remote.messages import Frames
from hwm_env.types import UInt8Array


def raw_frames(frames: Frames | None) -> UInt8Array:
    """Returns raw frames, uint8 [N, S, S, 3], read-only.

    Raises:
        ServiceError: the answer does not hold such frames.
    """
    try:
        if frames is None or frames.encoding != "raw":
            raise ValueError("no raw frames")
        (data,) = frames.data
        content = base64.b64decode(data, validate=True)
        if len(frames.shape) != 4 or len(content) != math.prod(frames.shape):
            raise ValueError(f"{len(content)} bytes for frames of shape {frames.shape}")
        return np.frombuffer(content, np.uint8).reshape(frames.shape)
    except (ValueError, binascii.Error) as error:
        raise ServiceError(f"the service sent no frames that can be read ({error})") from error
