"""Writes the curves and sample videos of a training run for TensorBoard."""

import io
import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from hwm_env.data.files import append_bytes, writing
from hwm_env.errors import require_extra
from hwm_env.types import FRAME_RATE_HZ

_numbers: Final = itertools.count()


class TensorBoard:
    """The curves and sample videos of a run, for `tensorboard --logdir`.

    A method returns when its content is on disk, and raises if it cannot be written; TensorBoard's own writer writes,
    and fails, in a thread.
    """

    def __init__(self, directory: Path, first_step: int) -> None:
        """Opens the log.

        Args:
            directory: directory for the event file.
            first_step: first step of this run; when a run is resumed, TensorBoard hides earlier points after it.

        Raises:
            MissingExtraError: tensorboard is not installed.
            SavingError: the directory cannot be written.
        """
        require_extra("tensorboard", "train")
        from tensorboard.compat.proto.event_pb2 import SessionLog

        # TensorBoard reads files in the order of their names.
        begun = f"{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers):06d}"
        self._file = directory / f"events.out.tfevents.{begun}"
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        self._add(step=first_step + 1, file_version="brain.Event:2")
        self._add(step=first_step + 1, session_log=SessionLog(status=SessionLog.START))

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Adds a point to each curve.

        Raises:
            SavingError: the file could not be written.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._add(
            step=step,
            summary=Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()]),
        )

    def videos(self, step: int, name: str, videos: Tensor) -> None:
        """Adds animated pictures.

        Args:
            step: steps done.
            name: name of the group.
            videos: uint8 [N, F, H, W, 3], at 30 frames a second.

        Raises:
            SavingError: the file could not be written.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        for index, frames in enumerate(videos):
            picture = Summary.Image(
                height=frames.shape[1], width=frames.shape[2], colorspace=3, encoded_image_string=_gif(frames)
            )
            self._add(step=step, summary=Summary(value=[Summary.Value(tag=f"{name}/{index}", image=picture)]))

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(Event(wall_time=time.time(), **content).SerializeToString())
        append_bytes(self._file, record.getvalue())


def _gif(frames: Tensor) -> bytes:
    """Encodes a video uint8 [F, H, W, 3] as a GIF that repeats."""
    image = require_extra("PIL.Image", "train")
    # By default, Pillow chooses colours by median cut, which takes ten times as long and is no nearer to the frames.
    first, *rest = [image.fromarray(frame.numpy()).quantize(method=image.Quantize.FASTOCTREE) for frame in frames]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=1000 // FRAME_RATE_HZ, loop=0)
    return buffer.getvalue()
