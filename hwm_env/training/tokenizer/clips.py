"""The clips that a tokenizer trains on: read from the data set, or gathered on the device that trains."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.read_ahead import read_ahead
from hwm_env.data.reader import Dataset
from hwm_env.data.windows import FrameWindows
from hwm_env.training.runs.resident import MEMORY_SHARE, indices_on
from hwm_env.types import Int64Array

WORKERS = 2
"""Threads that read ahead for a GPU with too little memory."""


class ResidentFrames:
    """The windows of a data set's frames, gathered from a copy of all frames in a device's memory."""

    def __init__(self, dataset: Dataset, windows: FrameWindows, device: torch.device) -> None:
        """Copies the frames."""
        image_size = dataset.metadata.image_size
        assert image_size is not None, "a data set with raw images says how large they are"
        self._device, self._num_frames = device, windows.num_frames
        self._frames = torch.empty(dataset.num_frames, *image_size, 3, dtype=torch.uint8, device=device)
        starts, num_before = [], 0
        for shard, first_frames in zip(dataset.shards, windows.starts_by_shard, strict=True):
            self._frames[num_before : num_before + shard.num_frames] = torch.from_numpy(np.array(shard.frames))
            starts.append(num_before + first_frames)
            num_before += shard.num_frames
        self._starts: Int64Array = np.concatenate(starts)

    def gather(self, indices: Int64Array) -> Tensor:
        """Returns the windows of these indices, int64 [B], on the device: uint8 [B, F, H, W, 3]."""
        first = indices_on(self._device, self._starts[indices])
        return self._frames[first[:, None] + torch.arange(self._num_frames, device=self._device)]


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
    if device.type == "cuda" and _num_bytes(dataset) < MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]:
        return map(ResidentFrames(dataset, windows, device).gather, indices)
    gather = partial(_read, windows)
    return (clips.to(device) for clips in read_ahead(gather, indices, 0 if device.type == "cpu" else WORKERS))


def _read(windows: FrameWindows, indices: Int64Array) -> Tensor:
    return torch.from_numpy(windows.gather(indices).frames)


def _num_bytes(dataset: Dataset) -> int:
    assert dataset.metadata.image_size is not None, "a data set with raw images says how large they are"
    height, width = dataset.metadata.image_size
    return dataset.num_frames * height * width * 3
