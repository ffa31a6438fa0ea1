"""Starts: recorded histories from which a world can begin."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.reader import Dataset
from hwm_env.data.windows import ClipWindows
from hwm_env.types import FRAMES_PER_CLIP


@dataclass(frozen=True, slots=True)
class Starts:
    """N recorded histories of T clips."""

    tokens: Tensor
    """int32 [N, T, 3, H, W]."""
    actions: Tensor
    """float32 [N, T, 17, 25], physical units."""
    poses: Tensor | None
    """float32 [N, 3]: true base x (m), y (m), yaw (rad) at the last frame; None where nobody knows it."""

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def from_dataset(cls, dataset: Dataset, num_clips: int, count: int, seed: int) -> "Starts":
        """Picks windows at random, each from another place of a tokenised data set.

        Args:
            dataset: a data set with tokens, and with poses if those shall be kept.
            num_clips: clips of a history.
            count: starts wanted; fewer if there are not as many windows.
            seed: of the choice.
        """
        windows = ClipWindows(dataset, num_clips)
        chosen = np.sort(np.random.default_rng(seed).choice(len(windows), size=min(count, len(windows)), replace=False))
        batch = windows.gather(chosen)
        poses = []
        for index in chosen:
            shard, first_clip = windows.locate(int(index))
            of_shard = dataset.shards[shard].poses
            if of_shard is not None:
                poses.append(of_shard[(first_clip + num_clips) * FRAMES_PER_CLIP - 1])
        return cls(
            torch.from_numpy(batch.tokens),
            torch.from_numpy(batch.actions),
            torch.from_numpy(np.stack(poses)) if len(poses) == len(chosen) else None,
        )
