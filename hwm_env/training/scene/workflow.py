"""`hwm-env train-scene`: a scene for a checkpoint."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from hwm_env.arguments import CheckpointArgument, DataArgument, Flat
from hwm_env.checkpoint import Checkpoint, load, resolve, save
from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, from_json
from hwm_env.reporting import PYTHON, Caller
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel
from hwm_env.scene.robot_description import numbers_of, read_camera, read_limb
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.training.runs.run import stored_config
from hwm_env.training.scene.checkpoint import SceneRecipes, add_scene, map_around
from hwm_env.training.scene.train import train_scene


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneRunConfig(CheckedFields):
    """Checkpoint, data, robot and recipes of a scene's training."""

    checkpoint: CheckpointArgument
    """Directory of the checkpoint whose tokenizer made the tokens; it receives the scene."""
    data: DataArgument
    """Training split with tokens and base poses."""
    validation: Path
    """Another split, on which the scene is judged."""
    out: Path
    """Directory of the run."""
    recipes: Flat[SceneRecipes] = field(default_factory=SceneRecipes)
    """How the parts are trained."""
    robot: Path | None = None
    """MJCF or URDF file of the robot, from which the position of the camera follows for all joint angles; the joints
    between base and camera must be named like those of the checkpoint's robot, and be in rad. Without a file, the
    position is learned from the numbers too, and the pictures are a little softer."""
    camera: str = "head"
    """Name of the camera (in URDF: of its link) in that file."""
    base: str = "base"
    """Name of the body (link) in that file whose pose the data contain."""
    limbs: tuple[str, ...] = ()
    """Names of the bodies (links) in that file at which the limbs that the camera sees end, such as the hands; makes
    arms sharper."""
    field_of_view_deg: float | None = None
    """Vertical field of view of the camera in degrees; by default that of the robot's file, else 90."""
    rays_per_side: Annotated[int, Ge(1), Le(64)] = 1
    """Square root of the number of rays for each token: 2 makes pictures sharper and env steps slower."""
    samples_per_ray: Annotated[int, Ge(1), Le(2**10)] = 12
    """Places along each ray at which the map is read: 24 makes pictures sharper and env steps a little slower."""
    initial: str | None = None
    """Checkpoint whose scene to start from, instead of random weights, of a robot with the same camera and limbs; the
    new scene has the bounds of its map, and may have another token grid."""
    model_only: bool = False
    """Train only the scene model, and leave the checkpoint as it is; the same command with `--resume` and without this
    option trains the odometry, calibrates and adds the scene, possibly on another machine."""
    resume: bool = False
    """Continue the run that is in `out`, with the map's bounds that it began with."""
    device: str = "auto"
    """Device that trains the scene model: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""

    def check_together(self) -> None:
        """Raises InvalidInputError if there are limbs and no file to read them from."""
        if self.limbs and self.robot is None:
            raise InvalidInputError(f"--limbs {' '.join(self.limbs)} are read from the robot's file; give --robot FILE")


def run_scene_training(config: SceneRunConfig, caller: Caller = PYTHON) -> Checkpoint:
    """Trains a map of the room and the odometry that moves the base's pose in it, and puts both into a checkpoint.

    Returns:
        The checkpoint; with `model_only`, without a new scene.

    Raises:
        CheckpointError: there is no such checkpoint, or another tokenizer made the tokens.
        DatasetError: a split has no tokens or no poses, or is of another robot.
        InvalidInputError: the robot's file cannot be used, a run is in the way, or the initial checkpoint has no scene
            or one of another shape.
        SavingError: a file cannot be written.
    """
    checkpoint = load(config.checkpoint)
    splits = Dataset(config.data), Dataset(config.validation)
    initial = None if config.initial is None else _scene_model_of(config.initial)
    robot = config.robot
    numbers = None if robot is None else numbers_of(robot, checkpoint.robot)
    camera = None if robot is None else read_camera(robot, config.camera, config.base, numbers)
    if camera is not None:
        moved_by = [link.number for link in camera.links if link.number is not None]
        moving = f"moved by {', '.join(moved_by)}" if moved_by else "fixed to the base: none of the 25 numbers moves it"
        caller.show(f"the camera is {moving}")
    stated = None if camera is None else camera.field_of_view_deg
    shape = SceneConfig(
        fsq_levels=tuple(checkpoint.tokenizer.fsq_levels),
        grid_size=checkpoint.model.config.grid_size,
        field_of_view_deg=config.field_of_view_deg or stated or SceneConfig().field_of_view_deg,
        camera=None if camera is None else camera.links,
        limbs=() if robot is None else tuple(read_limb(robot, limb, config.base, numbers) for limb in config.limbs),
        map=_map_shape(config, splits[0], initial),
        rays_per_side=config.rays_per_side,
    )
    if config.model_only:
        check_tokenizer(checkpoint.tokenizer, *splits)
        check_robot(checkpoint.robot, *splits)
        train_scene(
            *splits,
            checkpoint.tokenizer,
            config.out,
            shape,
            config.recipes.model,
            initial=initial,
            resume=config.resume,
            device=config.device,
        )
        caller.show(f"trained the scene model in {config.out}; --resume without --model-only makes a scene of it")
        return checkpoint
    whole = add_scene(
        checkpoint,
        *splits,
        config.out,
        shape,
        config.recipes,
        initial=initial,
        resume=config.resume,
        device=config.device,
    )
    save(whole, resolve(config.checkpoint))
    caller.show(f"put the scene into {config.checkpoint}: {whole.provenance['scene']['validation']}")
    return whole


def _scene_model_of(checkpoint: str) -> SceneModel:
    scene = load(checkpoint).scene
    if scene is None:
        raise InvalidInputError(f"the checkpoint to start from, {checkpoint}, has no scene; name one that has")
    return scene.model


def _map_shape(config: SceneRunConfig, data: Dataset, initial: SceneModel | None) -> MapConfig:
    """Returns the map's shape.

    A training from a trained map keeps its bounds, and a resumed one those that it began with, so that it can be
    finished with other recordings.
    """
    stored = stored_config(config.out) if config.resume else None
    if stored is not None:
        begun = from_json(MapConfig, stored["scene"]["map"])
    elif initial is not None:
        begun = initial.config.map
    else:
        return map_around(data, MapConfig(samples=config.samples_per_ray))
    return replace(begun, samples=config.samples_per_ray)
