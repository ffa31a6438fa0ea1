"""Tiny videos, written by PyAV or FFmpeg's own program."""

import subprocess
from pathlib import Path

import numpy as np
import pytest


def ffmpeg(*arguments: object) -> bytes:
    """Runs FFmpeg's program, with which hwm_env does not decode, and returns its standard output."""
    program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    command = [program, "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def shown_by_ffmpeg(path: Path, filters: str, size: tuple[int, int]) -> np.ndarray:
    """Returns all frames as FFmpeg shows them, int [N, H, W, 3]."""
    raw = ffmpeg("-i", path, "-vf", filters, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, *size, 3).astype(int)


def quarters(height: int = 32, width: int = 48, count: int = 3) -> np.ndarray:
    """Returns pictures of red, green, blue and white quarters, which every turn and mirror changes."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2, 0] = 220
    image[: height // 2, width // 2 :, 1] = 220
    image[height // 2 :, : width // 2, 2] = 220
    image[height // 2 :, width // 2 :] = 220
    return np.repeat(image[None], count, axis=0)


def write_film(path: Path, frames: np.ndarray, codec: str = "libx264", **options: str) -> Path:
    """Writes a video of frames uint8 [N, H, W, 3] at 30 Hz."""
    av = pytest.importorskip("av")
    movflags = {"movflags": options.pop("movflags")} if "movflags" in options else {}
    with av.open(str(path), "w", options=movflags) as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24" if codec == "png" else "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    return path
