"""Keeps all clips of a data set on a device, so that batches are gathered there."""

from typing import Any, Final

import numpy as np
import torch

from hwm_env.data.reader import Shard
from hwm_env.data.samples import ClipSamples
from hwm_env.errors import DatasetError
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, POSE_DIM, Float32Array, Int64Array

MEMORY_SHARE: Final = 1 / 3
"""Largest share of a device's free memory for the data."""


class ResidentSamples:
    """The samples of a `ClipSamples`, gathered from tensors on a device.

    It copies all whole clips there once, with their actions and, if the samples have them, poses.
    """

    def __init__(self, samples: ClipSamples, device: torch.device) -> None:
        """Copies the clips.

        Args:
            samples: the samples.
            device: device of the tensors.

        Raises:
            DatasetError: a number of a whole clip is not finite.
        """
        self._num_past, self._num_clips = samples.num_past_clips, samples.windows.num_clips
        self._device = device
        parts: dict[str, list[np.ndarray[Any, Any]]] = {"video": [], "actions": []}
        if samples.with_poses:
            parts["poses"] = []
        starts, num_before = [], 0
        for shard, first_clips in zip(samples.dataset.shards, samples.windows.starts_by_shard, strict=True):
            num_clips = min(shard.num_clips, shard.num_frames // FRAMES_PER_CLIP)
            num_frames = num_clips * FRAMES_PER_CLIP
            assert shard.tokens is not None, f"shard {shard.index} has no tokens"
            shard.check_states(0, num_frames)
            parts["video"].append(shard.tokens[:num_clips])
            parts["actions"].append(shard.states[:num_frames].reshape(num_clips, FRAMES_PER_CLIP, -1))
            if samples.with_poses:
                parts["poses"].append(_poses(shard, num_frames).reshape(num_clips, FRAMES_PER_CLIP, -1))
            starts.append(num_before + first_clips)
            num_before += num_clips
        self._starts: Int64Array = np.concatenate(starts)
        self._by_clip = {name: torch.from_numpy(np.concatenate(arrays)).to(device) for name, arrays in parts.items()}

    def gather(self, indices: Int64Array) -> dict[str, torch.Tensor]:
        """Returns a batch on the device, with the names and shapes of a `ClipSample`.

        Args:
            indices: int64 [B], each in [0, len(samples)).
        """
        clips = indices_on(self._device, self._starts[indices])[:, None] + torch.arange(
            self._num_clips, device=self._device
        )
        batch = {}
        for name, whole in self._by_clip.items():
            past, future = whole[clips].split([self._num_past, self._num_clips - self._num_past], dim=1)
            frames = name != "video"
            batch[f"{name}_past"] = past.flatten(1, 2) if frames else past
            batch[f"{name}_future"] = future.flatten(1, 2) if frames else future
        return batch


def indices_on(device: torch.device, indices: Int64Array) -> torch.Tensor:
    """Copies indices to a device without waiting for what it still computes."""
    on_cpu = torch.from_numpy(indices)
    # From pinned memory, a copy does not wait.
    return on_cpu.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else on_cpu.to(device)


def fits(samples: ClipSamples, device: torch.device) -> bool:
    """Returns whether the samples' clips fit into a third of a GPU's free memory."""
    if device.type != "cuda":
        return False
    free_bytes, _ = torch.cuda.mem_get_info(device)
    shards = samples.dataset.shards
    of_tokens = sum(shard.tokens.nbytes for shard in shards if shard.tokens is not None)
    of_frames = sum(shard.num_frames for shard in shards) * 4 * (ACTION_DIM + POSE_DIM)
    return of_tokens + of_frames < MEMORY_SHARE * free_bytes


def _poses(shard: Shard, num_frames: int) -> Float32Array:
    assert shard.poses is not None, f"shard {shard.index} has no poses"
    poses = shard.poses[:num_frames]
    bad = np.flatnonzero(~np.isfinite(poses).all(axis=1))
    if len(bad):
        raise DatasetError(
            f"poses of shard {shard.index}, frame {bad[0]}: got {poses[bad[0]].tolist()}, expected finite numbers; "
            "repair the file, or remove the shard"
        )
    return poses
