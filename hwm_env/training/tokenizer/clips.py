"""The clips that a tokenizer trains on: read from the data set, or gathered on the device that trains."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.read_ahead import read_ahead
from hwm_env.data.reader import Dataset
from hwm_env.data.windows import FrameWindows
from hwm_env.scene.model import KEYFRAMES, at_keyframes
from hwm_env.training.runs.resident import MEMORY_SHARE, indices_on
from hwm_env.types import ACTION_DIM, POSE_DIM, Int64Array

WORKERS = 2
"""Threads that read ahead for a GPU with too little memory."""


class Keyframes(NamedTuple):
    """The robot at the keyframes of clips, from which a scene model predicts their tokens."""

    poses: Tensor
    """float32 [B, 3, 3]: poses of the base."""
    numbers: Tensor
    """float32 [B, 3, 25]: the robot's numbers."""


class RawClips(NamedTuple):
    """Clips of raw images."""

    frames: Tensor
    """uint8 [B, F, H, W, 3]."""
    keyframes: Keyframes | None
    """The robot at their keyframes, if they were asked for."""


class ResidentFrames:
    """The windows of a data set's frames, gathered from a copy of all frames in a device's memory."""

    def __init__(
        self, dataset: Dataset, windows: FrameWindows, device: torch.device, *, with_keyframes: bool = False
    ) -> None:
        """Copies the frames, and with keyframes also all poses and numbers."""
        image_size = dataset.metadata.image_size
        assert image_size is not None, "a data set with raw images says how large they are"
        self._device, self._num_frames = device, windows.num_frames
        total = dataset.num_frames
        self._frames = torch.empty(total, *image_size, 3, dtype=torch.uint8, device=device)
        self._robot = None
        if with_keyframes:
            self._robot = Keyframes(*(torch.empty(total, width, device=device) for width in (POSE_DIM, ACTION_DIM)))
        starts, num_before = [], 0
        for shard, first_frames in zip(dataset.shards, windows.starts_by_shard, strict=True):
            place = slice(num_before, num_before + shard.num_frames)
            self._frames[place] = torch.from_numpy(np.array(shard.frames))
            if self._robot is not None:
                for whole, part in zip(self._robot, (shard.poses, shard.states), strict=True):
                    whole[place] = torch.from_numpy(np.array(part))
            starts.append(num_before + first_frames)
            num_before += shard.num_frames
        self._starts: Int64Array = np.concatenate(starts)

    def gather(self, indices: Int64Array) -> RawClips:
        """Returns the windows of these indices, int64 [B], on the device."""
        first = indices_on(self._device, self._starts[indices])[:, None]
        keyframes = None
        if self._robot is not None:
            frames = first + torch.tensor(KEYFRAMES, device=self._device)
            keyframes = Keyframes(*(part[frames] for part in self._robot))
        return RawClips(self._frames[first + torch.arange(self._num_frames, device=self._device)], keyframes)


def load(
    dataset: Dataset,
    windows: FrameWindows,
    indices: Iterable[Int64Array],
    device: torch.device,
    *,
    with_keyframes: bool = False,
) -> Iterator[RawClips]:
    """Loads batches of windows.

    The frames stay on a GPU if they fit into a third of its free memory; otherwise threads read ahead. The clips are
    the same either way.

    Args:
        dataset: data set with raw images.
        windows: its windows.
        indices: the windows of each batch, int64 [B].
        device: device of the batches.
        with_keyframes: whether to load poses and numbers too; the data set must have poses.
    """
    if device.type == "cuda" and _num_bytes(dataset) < MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]:
        return map(ResidentFrames(dataset, windows, device, with_keyframes=with_keyframes).gather, indices)
    gather = partial(read_clips, windows, with_keyframes=with_keyframes)
    return (on(device, clips) for clips in read_ahead(gather, indices, 0 if device.type == "cpu" else WORKERS))


def read_clips(windows: FrameWindows, indices: Int64Array, *, with_keyframes: bool = False) -> RawClips:
    """Copies windows of these indices, int64 [B], out of the data set.

    Raises:
        DatasetError: an action is not finite, or with keyframes, there are no poses or one is not finite.
    """
    batch, keyframes = windows.gather(indices), None
    if with_keyframes:
        whole = windows.gather_poses(indices), batch.actions
        keyframes = Keyframes(*(at_keyframes(torch.from_numpy(part)) for part in whole))
    return RawClips(torch.from_numpy(batch.frames), keyframes)


def on(device: torch.device, clips: RawClips) -> RawClips:
    """Copies clips to a device."""
    keyframes = None if clips.keyframes is None else Keyframes(*(part.to(device) for part in clips.keyframes))
    return RawClips(clips.frames.to(device), keyframes)


def _num_bytes(dataset: Dataset) -> int:
    assert dataset.metadata.image_size is not None, "a data set with raw images says how large they are"
    height, width = dataset.metadata.image_size
    return dataset.num_frames * height * width * 3
