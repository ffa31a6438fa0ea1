"""What a frozen scene tells of the clips of samples, for a model that is trained to read it."""

import numpy as np
import torch
from torch import Tensor

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.errors import InvalidInputError
from hwm_env.scene.scene import Scene
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.training.objective import SampleBatch
from hwm_env.types import FRAMES_PER_CLIP, POSE_DIM


def told_of(
    scene: Scene, batch: SampleBatch, seeds: list[int], noise: tuple[float, float], *, unknown_share: float = 0.0
) -> Tensor:
    """Returns what a scene tells of all clips of samples, past and future.

    Args:
        scene: the room.
        batch: B samples with poses.
        seeds: of their noise.
        noise: standard deviations, in place (m) and in heading (rad), by which the poses of a sample are shifted, all
            of them alike: what a localiser errs by.
        unknown_share: probability that the place of a sample is not known: the scene tells nothing of its clips.

    Returns:
        float32 [B, P + F, S, C].
    """
    poses = torch.cat([batch["poses_past"], batch["poses_future"]], dim=1)
    actions = torch.cat([batch["actions_past"], batch["actions_future"]], dim=1)
    draws = [np.random.default_rng(seed) for seed in seeds]
    shifts = np.stack([rng.normal(size=POSE_DIM) for rng in draws]) * (noise[0], *noise)
    shifts[[rng.random() < unknown_share for rng in draws]] = np.nan
    shifted = poses + torch.from_numpy(shifts).to(poses)[:, None]
    paths, chunks = (part.unflatten(1, (-1, FRAMES_PER_CLIP)) for part in (shifted, actions))
    told: Tensor = scene.inputs(paths.flatten(0, 1), chunks.flatten(0, 1)).unflatten(0, paths.shape[:2])
    return told


def scene_of(checkpoint: Checkpoint, *datasets: Dataset) -> Scene:
    """Returns a checkpoint's scene.

    Raises:
        InvalidInputError: it has none.
        CheckpointError: the data sets have tokens of another tokenizer than the scene was trained on.
    """
    if checkpoint.scene is None:
        raise InvalidInputError("the checkpoint that shall give its scene has none; train one with hwm-env train-scene")
    check_tokenizer(checkpoint.tokenizer, *datasets)
    return checkpoint.scene
