"""The clips that a tokenizer trains on: read from the data set, or gathered on the device that trains."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.read_ahead import read_ahead
from hwm_env.data.reader import Dataset
from hwm_env.data.windows import FrameWindows
from hwm_env.types import Int64Array

SHARE_OF_MEMORY = 1 / 3
"""Part of a device's free memory that the frames of a data set may take."""
WORKERS = 2
"""Threads that read ahead for a device with too little memory."""


class FramesOnDevice:
    """All frames of a data set in a device's memory, uint8 [N, H, W, 3], and its windows as places in them."""

    def __init__(self, dataset: Dataset, windows: FrameWindows, device: torch.device) -> None:
        """Copies the frames."""
        image_size = dataset.metadata.image_size
        assert image_size is not None, "a data set with raw images says how large they are"
        self._frames = torch.empty(dataset.num_frames, *image_size, 3, dtype=torch.uint8, device=device)
        first = 0
        for shard in dataset.shards:
            self._frames[first : first + shard.num_frames] = torch.from_numpy(np.array(shard.frames))
            first += shard.num_frames
        self._first_frames = torch.from_numpy(windows.first_frames).to(device)
        self._offsets = torch.arange(windows.num_frames, device=device)

    def gather(self, indices: Int64Array) -> Tensor:
        """Copies the windows of these indices, int64 [B], on the device: uint8 [B, F, H, W, 3]."""
        rows = torch.from_numpy(indices)
        if self._frames.device.type == "cuda":
            # From pinned memory, a copy does not wait for the device.
            rows = rows.pin_memory()
        rows = rows.to(self._frames.device, non_blocking=True)
        return self._frames[self._first_frames[rows][:, None] + self._offsets]


def load(
    dataset: Dataset, windows: FrameWindows, indices: Iterable[Int64Array], device: torch.device
) -> Iterator[Tensor]:
    """Loads batches of windows.

    The frames stay on a GPU if they fit into a third of its free memory; otherwise threads read ahead. The clips are
    the same either way.

    Args:
        dataset: data set with raw images.
        windows: its windows.
        indices: the windows of each batch, int64 [B].
        device: device of the batches.

    Returns:
        An iterator over uint8 [B, F, H, W, 3].
    """
    gather: Callable[[Int64Array], Tensor]
    if device.type == "cuda" and _num_bytes(dataset) <= SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]:
        return map(FramesOnDevice(dataset, windows, device).gather, indices)
    gather = partial(_read, windows)
    return (clips.to(device) for clips in read_ahead(gather, indices, 0 if device.type == "cpu" else WORKERS))


def _read(windows: FrameWindows, indices: Int64Array) -> Tensor:
    return torch.from_numpy(windows.gather(indices).frames)


def _num_bytes(dataset: Dataset) -> int:
    assert dataset.metadata.image_size is not None, "a data set with raw images says how large they are"
    height, width = dataset.metadata.image_size
    return dataset.num_frames * height * width * 3
