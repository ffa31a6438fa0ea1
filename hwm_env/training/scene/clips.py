"""Serves random batches of single clips with their poses to the training of a scene."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from hwm_env import draws
from hwm_env.data.windows import ClipWindows
from hwm_env.scene.model import KEYFRAMES
from hwm_env.scene.rendering import PosedClips
from hwm_env.training.runs.resident import indices_on
from hwm_env.types import Int64Array

_GATHERED_AT_ONCE: Final = 4096
_CHOICE: Final = 0
"""Stream of the draws of a batch's clips."""


def gather_clips(windows: ClipWindows, indices: Int64Array) -> PosedClips:
    """Copies single clips out of a data set with poses.

    Raises:
        DatasetError: the data set has no poses.
    """
    batch, frames = windows.gather(indices), list(KEYFRAMES)
    return PosedClips(
        torch.from_numpy(batch.tokens[:, 0]),
        torch.from_numpy(windows.gather_poses(indices)[:, 0, frames]),
        torch.from_numpy(batch.actions[:, 0, frames]),
    )


def clips_of_step(seed: int, step: int, batch_size: int, total: int) -> Int64Array:
    """Draws the indices of a batch's clips, int64 [B], as a function of seed and step: no data order has to be saved.

    Args:
        seed: seed of the run.
        step: index of the step.
        batch_size: number of indices.
        total: number of clips.
    """
    seeds_B = draws.seeds_of(seed, step, range(batch_size))
    indices: Int64Array = (draws.bits(seeds_B, _CHOICE, ()) % total).numpy()
    return indices


class ClipSource:
    """Serves the single clips of a data set on a device.

    A processor reads them from the data set's files. On other devices, all of them stay in the device's memory (about
    1 kB each on a grid of 8 x 8), so that a batch is only gathered there.

    Args:
        windows: single clips of a data set with poses.
        device: device of the batches.

    Raises:
        DatasetError: the data set has no poses.
    """

    def __init__(self, windows: ClipWindows, device: torch.device) -> None:
        self._windows = windows
        self._device = device
        self._resident = None if device.type == "cpu" else on_device(windows, device)

    def __call__(self, indices_B: Int64Array) -> PosedClips:
        """Returns the clips of these indices, without waiting for the device."""
        if self._resident is None:
            return gather_clips(self._windows, indices_B)
        return chosen_clips(self._resident, indices_on(self._device, indices_B))


def on_device(windows: ClipWindows, device: torch.device) -> PosedClips:
    """Copies all single clips of a data set to a device.

    Raises:
        DatasetError: the data set has no poses.
    """
    parts = np.split(np.arange(len(windows)), range(_GATHERED_AT_ONCE, len(windows), _GATHERED_AT_ONCE))
    gathered = [gather_clips(windows, part) for part in parts]
    return PosedClips(*(torch.cat(of_parts).to(device) for of_parts in zip(*gathered, strict=True)))


def chosen_clips(clips: PosedClips, indices_B: Tensor) -> PosedClips:
    """Returns some clips; all tensors must be on one device."""
    return PosedClips(*(part[indices_B] for part in clips))
