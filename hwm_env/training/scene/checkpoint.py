"""Adds a scene to a checkpoint: trains map and odometry, and calibrates when a place counts as unknown."""

import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.data.windows import ClipWindows, evenly_spread
from hwm_env.evaluation.worlds.scene_scores import judge_scene
from hwm_env.model.readout import Readout
from hwm_env.scene.locate import locate
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel
from hwm_env.scene.scene import Scene, SceneUse
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.training.scene.clips import gather_clips
from hwm_env.training.scene.odometry import OdometryTrainingConfig, judge_odometry, train_odometry
from hwm_env.training.scene.pose_corrections import PoseCorrections, with_corrected_poses
from hwm_env.training.scene.train import SceneTrainingConfig, train_scene
from hwm_env.types import HISTORY_CLIPS, POSE_DIM

logger = logging.getLogger(__name__)

MARGIN_M: Final = 1.0
"""Margin of the map around the places where the base was."""
JUDGED_CLIPS: Final = 256
CALIBRATION_WINDOWS: Final = 64
KNOWN_SHARE: Final = 0.95
"""Share of the room's recorded histories whose losses must be well below the bound."""
SUSPICIOUS: Final = 1.5
"""A history whose loss is above this multiple of the median is searched longer."""
SLACK: Final = 1.5
"""The bound divided by the loss at `KNOWN_SHARE`; losses in another room are several times as large as in the room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneRecipes:
    """The recipes of the parts of a scene."""

    model: SceneTrainingConfig = field(default_factory=SceneTrainingConfig)
    """Recipe of the scene model: the map and the network that predicts tokens from it."""
    odometry: OdometryTrainingConfig = field(default_factory=OdometryTrainingConfig)
    """Recipe of the odometry, which moves the pose."""


def add_scene(
    checkpoint: Checkpoint,
    data: Dataset,
    validation: Dataset,
    out: Path,
    shape: SceneConfig,
    recipes: SceneRecipes,
    *,
    initial: SceneModel | None = None,
    resume: bool = False,
    device: str = "cpu",
) -> Checkpoint:
    """Trains a scene for a checkpoint.

    Args:
        checkpoint: the checkpoint that gets the scene; its tokenizer must be that of the splits.
        data: a split with tokens and base poses.
        validation: another split with tokens and base poses.
        out: directory of the run.
        shape: shape of the scene model.
        recipes: recipes of the scene's parts.
        initial: scene model whose weights to start from; `None` means random weights.
        resume: continue the run in `out`.
        device: device to train the scene model on; "auto" means a GPU if there is one.

    Returns:
        The checkpoint with the scene; `provenance["scene"]` contains recipes and measurements.

    Raises:
        CheckpointError: a split was tokenised by another tokenizer.
        DatasetError: a split has no tokens or no poses, or is of another robot.
        InvalidInputError: `out` already contains a run or other files, or the run was started with another
            configuration, or `initial` has weights that do not fit the scene.
        DivergedError: the loss became NaN or infinite.
    """
    check_tokenizer(checkpoint.tokenizer, data, validation)
    check_robot(checkpoint.robot, data, validation)
    model = train_scene(
        data,
        validation,
        checkpoint.tokenizer,
        out,
        shape,
        recipes.model,
        initial=initial,
        resume=resume,
        device=device,
    )
    if recipes.model.pose_correction != "none":
        data = with_corrected_poses(data, PoseCorrections.load(out / "checkpoint"))
    checkpoint.tokenizer.to("cpu")
    odometry = train_odometry(data, recipes.odometry)
    scene = Scene(model.cpu(), odometry, SceneUse()).eval()
    windows = ClipWindows(validation, 1)
    judged = gather_clips(windows, evenly_spread(len(windows), JUDGED_CLIPS))
    scores = judge_scene(model, judged, checkpoint.tokenizer)
    scene.use = replace(scene.use, unknown_above=unknown_bound(scene, checkpoint.readout, validation))
    measured = {**scores._asdict(), "odometry": asdict(judge_odometry(odometry, validation))}
    logger.info("the scene on held-out clips: %s", measured)
    provenance = {"recipe": asdict(recipes), "validation": measured}
    return replace(checkpoint, scene=scene, provenance={**checkpoint.provenance, "scene": provenance})


def map_around(data: Dataset, room: MapConfig) -> MapConfig:
    """Returns the map's shape with bounds along x and y, 1 m around the recorded places of the base.

    Raises:
        DatasetError: the data set has no poses.
    """
    windows = ClipWindows(data, 1)
    poses = windows.gather_poses(np.arange(len(windows)))[..., :2].reshape(-1, 2)
    low, high = poses.min(axis=0) - MARGIN_M, poses.max(axis=0) + MARGIN_M
    return replace(
        room,
        low_m=(float(low[0]), float(low[1]), room.low_m[2]),
        high_m=(float(high[0]), float(high[1]), room.high_m[2]),
    )


def unknown_bound(scene: Scene, readout: Readout | None, validation: Dataset) -> float:
    """Returns the loss, in nats for each token, above which a history shows a place outside the map.

    It is well above the loss of nearly all histories of the validation split, at the poses where they are found.

    Raises:
        DatasetError: the split has no histories of nine clips.
    """
    windows = ClipWindows(validation, HISTORY_CLIPS)
    batch = windows.gather(evenly_spread(len(windows), CALIBRATION_WINDOWS))
    tokens, actions = torch.from_numpy(batch.tokens), torch.from_numpy(batch.actions)
    seen = None
    if readout is not None:
        seen = readout.read(tokens.flatten(0, 1))[:, :POSE_DIM].unflatten(0, tokens.shape[:2])
    losses = locate(scene, tokens, actions, seen).losses
    # A quick search misses some places: with this bound, it continues until their losses are like the others.
    scene.use = replace(scene.use, unknown_above=SUSPICIOUS * float(losses.median()))
    losses = locate(scene, tokens, actions, seen).losses
    return SLACK * float(losses.quantile(KNOWN_SHARE))
