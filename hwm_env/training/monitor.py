"""What people watch while a model is being trained: TensorBoard."""

import io
from pathlib import Path

from torch import Tensor

from hwm_env.errors import require_extra
from hwm_env.types import FRAME_RATE_HZ


class TensorBoard:
    """Curves and sample videos of a run, for `tensorboard --logdir`."""

    def __init__(self, directory: Path, first_step: int) -> None:
        """Opens the log.

        Args:
            directory: for the event files.
            first_step: a resumed run hides what was logged from here on.

        Raises:
            MissingExtraError: tensorboard is not installed.
        """
        require_extra("tensorboard", "train")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=first_step + 1)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Adds a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def videos(self, step: int, name: str, videos: Tensor) -> None:
        """Adds moving pictures.

        Args:
            step: steps done.
            name: of the group.
            videos: uint8 [N, F, H, W, 3], at 30 frames a second.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        for index, frames in enumerate(videos):
            picture = Summary.Image(
                height=frames.shape[1], width=frames.shape[2], colorspace=3, encoded_image_string=_gif(frames)
            )
            summary = Summary(value=[Summary.Value(tag=f"{name}/{index}", image=picture)])
            self._writer._get_file_writer().add_summary(summary, step)

    def close(self) -> None:
        """Writes what is still in memory."""
        self._writer.close()


def _gif(frames: Tensor) -> bytes:
    """A video uint8 [F, H, W, 3] as a GIF that repeats."""
    image = require_extra("PIL.Image", "train")
    first, *rest = [image.fromarray(frame.numpy()) for frame in frames]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=1000 // FRAME_RATE_HZ, loop=0)
    return buffer.getvalue()
