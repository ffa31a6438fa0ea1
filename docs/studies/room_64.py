"""Makes the checkpoint room-64: recordings, tokenizer, tokens, world model, read-out and scene.

Trainings start from random weights or from another checkpoint. Every stage is seeded and leaves its result in one
directory. Finished stages are not repeated, and interrupted trainings continue where they stopped.
"""

import logging
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hwm_env import checkpoint as checkpoints
from hwm_env.arguments import parse_config
from hwm_env.data.reader import Dataset
from hwm_env.decoding.config import DecodingConfig
from hwm_env.errors import HWMError, exit_with_one_line
from hwm_env.fields import CheckedFields
from hwm_env.precision import TrainingPrecision
from hwm_env.scene.model import SceneConfig
from hwm_env.scene.robot_description import links_from_mjcf
from hwm_env.tokenizers.recordings import tokenize_recordings
from hwm_env.training.assemble import with_readout
from hwm_env.training.readout.train import ReadoutTrainingConfig, judge_readout, train_readout
from hwm_env.training.scene.checkpoint import SceneRecipes, add_scene
from hwm_env.training.scene.odometry import OdometryTrainingConfig
from hwm_env.training.scene.train import SceneTrainingConfig
from hwm_env.training.tokenizer.train import TokenizerTrainingConfig, train_tokenizer

logger = logging.getLogger(__name__)

SEED = 0
TRAIN_EPISODES = 800
VALIDATION_EPISODES = 30
TRAIN_OFFSETS = (0, 8)
"""Every recording is cut into clips at two offsets, which doubles the number of windows."""
TOKENIZER = TokenizerTrainingConfig(seed=SEED)
TOKENIZER_FROM_INITIAL = replace(TOKENIZER, steps=1200, matrix_learning_rate=0.01, learning_rate=1e-3)
"""Low learning rates, so that the initial world model still understands the tokens."""
DECODING = DecodingConfig(steps=1, temperature=0.0, history="streaming")
"""The fastest setting, as accurate as any (docs/decoding.md): with a scene, tokens hardly depend on each other."""
PROCESSES = 2
"""Number of processes that train the world model together, one thread each."""
READOUT = ReadoutTrainingConfig(seed=SEED, steps=3000)
SCENE = SceneRecipes(model=SceneTrainingConfig(seed=SEED), odometry=OdometryTrainingConfig(seed=SEED))


@dataclass(frozen=True, kw_only=True, slots=True)
class Room64Config(CheckedFields):
    """Makes the checkpoint room-64."""

    directory: Path
    """Directory for recordings, tokens and runs (about 5 GB)."""
    destination: Path = checkpoints.ASSETS / "room-64"
    """Directory for the checkpoint."""
    initial: str | None = None
    """Checkpoint that tokenizer and world model start from; by default random weights."""
    precision: TrainingPrecision = "auto"
    """Number type of all trainings; to continue one on a processor of another kind, name that of its beginning."""


def make_room_64(config: Room64Config) -> None:
    """Runs all stages that have not run yet."""
    from hwm_env.reference.collect import collect

    directory, initial, precision = config.directory, config.initial, config.precision
    for split, episodes in (("train", TRAIN_EPISODES), ("validation", VALIDATION_EPISODES)):
        if not (directory / f"{split}-raw" / "metadata.json").exists():
            collect(directory / f"{split}-raw", num_episodes=episodes, seed=SEED, split=split)
    tokenizer_config = replace(TOKENIZER if initial is None else TOKENIZER_FROM_INITIAL, precision=precision)
    tokenizer_config = tokenizer_config.resolved("cpu")
    tokenizer = train_tokenizer(
        directory / "train-raw",
        directory / "tokenizer",
        tokenizer_config,
        resume=True,
        validation=directory / "validation-raw",
        initial=None if initial is None else checkpoints.load_tokenizer(initial),
    )
    for split, offsets in (("train", TRAIN_OFFSETS), ("validation", (0,))):
        if not (directory / split / "metadata.json").exists():
            tokenize_recordings(directory / f"{split}-raw", directory / split, lambda: tokenizer, offsets)
    train, validation = Dataset(directory / "train"), Dataset(directory / "validation")
    _train_world_model(directory, initial, precision)
    checkpoint = checkpoints.load(directory / "world-model" / "checkpoint")
    readout_config = replace(READOUT, precision=precision).resolved("cpu")
    readout = train_readout(train, readout_config, checkpoint.model.config)
    error = {"validation": judge_readout(readout, validation)}
    logger.info("read-out on held-out clips: %s", error)
    whole = with_readout(checkpoint, readout, {"recipe": asdict(readout_config), "error": error})
    made_by = {
        "command": "make room-64" if initial is None else f"make room-64 INITIAL={initial}",
        "tokenizer": asdict(tokenizer_config),
        "data": {"train_episodes": TRAIN_EPISODES, "train_offsets": TRAIN_OFFSETS, "seed": SEED},
    }
    whole = replace(whole, provenance={**whole.provenance, **made_by})
    recipes = replace(SCENE, model=replace(SCENE.model, precision=precision))
    whole = add_scene(whole, train, validation, directory / "scene", scene_shape(), recipes, resume=True)
    checkpoints.save(replace(whole, decoding=DECODING), config.destination)


def scene_shape() -> SceneConfig:
    """Returns the shape of room-64's scene: a map of the reference room, and the camera of its robot."""
    from hwm_env.reference.mujoco_model import CAMERA_NAME, mujoco_xml

    return SceneConfig(camera=links_from_mjcf(mujoco_xml(), CAMERA_NAME, base="base"))


def _train_world_model(directory: Path, initial: str | None, precision: TrainingPrecision) -> None:
    """Trains with the recipe of the preset room-64, or resumes an interrupted training."""
    # The launcher ends with this process, and the trainings with the launcher.
    launcher = ["-m", "hwm_env.workers", str(os.getpid()), "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", str(PROCESSES), "-m", "hwm_env"]
    splits = [str(directory / "train"), "--validation", str(directory / "validation")]
    out = directory / "world-model"
    options = ["--tokenizer", str(directory / "tokenizer"), "--out", str(out), "--preset", "room-64"]
    options += ["--seed", str(SEED), "--device", "cpu", *(["--resume"] if out.exists() else [])]
    options += ["--precision", precision, *([] if initial is None else ["--initial", initial])]
    command = [sys.executable, *launcher, "train", *splits, *options]
    done = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise HWMError(f"the world model's training ended with exit code {done.returncode}; see its error above")


def main() -> None:
    """Makes room-64 from the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with exit_with_one_line():
        make_room_64(parse_config(Room64Config, program="python -m docs.studies.room_64"))


if __name__ == "__main__":
    main()
