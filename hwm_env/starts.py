"""Starts: recorded histories at which an episode may begin."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.reader import Dataset
from hwm_env.data.windows import ClipWindows
from hwm_env.errors import CheckpointError
from hwm_env.tokenizers.base import INTEGERS
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP, POSE_DIM


@dataclass(frozen=True, slots=True)
class Starts:
    """N recorded histories of T clips."""

    tokens: Tensor
    """int32 [N, T, 3, H, W]."""
    actions: Tensor
    """float32 [N, T, 17, 25], physical units."""
    poses: Tensor | None
    """float32 [N, 3]: true base x (m), y (m), yaw (rad) at the last frame; `None` if unknown."""

    def __post_init__(self) -> None:
        """Raises CheckpointError if a part has the wrong shape, type or values."""
        shape = tuple(self.tokens.shape)
        for name, tensor, expected, integers in (
            ("tokens", self.tokens, (*shape[:2], LATENTS_PER_CLIP, *shape[3:5]), True),
            ("actions", self.actions, (*shape[:2], FRAMES_PER_CLIP, ACTION_DIM), False),
            *([] if self.poses is None else [("poses", self.poses, (*shape[:1], POSE_DIM), False)]),
        ):
            is_kind = tensor.dtype in INTEGERS if integers else tensor.is_floating_point()
            if len(shape) != 5 or tuple(tensor.shape) != expected or not is_kind or not tensor.isfinite().all():
                raise CheckpointError(
                    f"the starts do not fit together: expected {name} as {'whole' if integers else 'finite'} numbers "
                    f"{list(expected)} for {list(shape[:2])} starts and clips, got {tensor.dtype} {list(tensor.shape)}"
                    f"{'' if tensor.isfinite().all() else ' with NaN or infinity'}; choose the starts again"
                )

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def from_dataset(cls, dataset: Dataset, num_clips: int, count: int, seed: int) -> "Starts":
        """Picks different windows of a data set at random.

        Args:
            dataset: a data set with tokens; its poses are kept if it has them.
            num_clips: clips per history.
            count: number of starts; fewer if there are fewer windows.
            seed: seed of the choice.
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
