"""Computes the inputs from a frozen scene for a model that is trained to read them."""

import torch
from torch import Tensor

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.draws import normal, uniform
from hwm_env.errors import InvalidInputError
from hwm_env.scene.scene import Scene
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.training.world_model.objective import SampleBatch
from hwm_env.types import FRAMES_PER_CLIP, POSE_DIM

_SHIFT, _UNKNOWN = 16, 17
"""Numbers of the draws of a sample (`hwm_env.draws`), apart from those of the objective."""


def scene_inputs(
    scene: Scene, batch: SampleBatch, seeds_B: Tensor, noise: tuple[float, float], *, unknown_share: float = 0.0
) -> Tensor:
    """Returns a scene's inputs for all clips of samples, past and future.

    Args:
        scene: the scene.
        batch: B samples with poses.
        seeds_B: int64 [B], seeds of their noise.
        noise: standard deviations, in place (m) and yaw (rad), of the shift of a sample's poses; the shift is the same
            for all of them, like an error of the localiser.
        unknown_share: probability that the place of a sample is unknown; its inputs are then empty.

    Returns:
        float32 [B, P + F, S, C].
    """
    poses = torch.cat([batch["poses_past"], batch["poses_future"]], dim=1)
    actions = torch.cat([batch["actions_past"], batch["actions_future"]], dim=1)
    place, yaw = normal(seeds_B, _SHIFT, (POSE_DIM,)).split([2, 1], dim=1)
    shifts = torch.cat([noise[0] * place, noise[1] * yaw], dim=1)
    shifts = shifts.masked_fill((uniform(seeds_B, _UNKNOWN) < unknown_share)[:, None], torch.nan)
    shifted = poses + shifts[:, None]
    paths, chunks = (part.unflatten(1, (-1, FRAMES_PER_CLIP)) for part in (shifted, actions))
    inputs: Tensor = scene.inputs(paths.flatten(0, 1), chunks.flatten(0, 1)).unflatten(0, paths.shape[:2])
    return inputs


def scene_of(checkpoint: Checkpoint, *datasets: Dataset) -> Scene:
    """Returns a checkpoint's scene.

    Raises:
        InvalidInputError: the checkpoint has no scene.
        CheckpointError: the data sets were tokenised by another tokenizer than the scene was trained on.
        DatasetError: they are of another robot.
    """
    if checkpoint.scene is None:
        raise InvalidInputError("the checkpoint has no scene; add one with: hwm-env train-scene CHECKPOINT DATA")
    check_tokenizer(checkpoint.tokenizer, *datasets)
    check_robot(checkpoint.robot, *datasets)
    return checkpoint.scene
