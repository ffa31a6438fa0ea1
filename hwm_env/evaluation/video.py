"""Writing videos."""

from collections.abc import Iterable
from pathlib import Path

from hwm_env.errors import require_extra
from hwm_env.types import FRAME_RATE_HZ, UInt8Array


def write_mp4(file: Path, frames: Iterable[UInt8Array]) -> None:
    """Writes frames as H.264 at 30 frames a second.

    Args:
        file: the mp4 to write.
        frames: uint8 [H, W, 3] each, H and W even.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    av = require_extra("av", "demo")
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), mode="w") as container:
        stream = None
        for image in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=FRAME_RATE_HZ)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())
