"""Makes a checkpoint of the room: recordings, tokenizer, tokens, read-out, scene, world model, decoder, calibration.

It runs the commands that anybody would. Every stage is seeded and leaves its result in one directory. Finished stages
are not repeated, and interrupted trainings continue where they stopped. With a number of minutes, all of it is done in
miniature, or fast on a GPU.
"""

import logging
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le, MultipleOf

from docs.studies.room_recipes import Options, Recipes, recipes_for
from hwm_env import checkpoint as checkpoints
from hwm_env.arguments import parse_config
from hwm_env.checkpoint import Checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.decoding.config import DecodingConfig
from hwm_env.devices import check_device
from hwm_env.errors import HWMError, exit_with_one_line
from hwm_env.fields import CheckedFields, CountOrZero, Positive
from hwm_env.model.presets import ROOM_64
from hwm_env.precision import TrainingPrecision
from hwm_env.starts import Starts
from hwm_env.training.assemble import NUM_STARTS
from hwm_env.training.world_model.split import fitted
from hwm_env.training.world_model.trainee import new_model
from hwm_env.types import HISTORY_CLIPS

logger = logging.getLogger(__name__)

SEED = 0
DECODING = DecodingConfig(steps=1, temperature=0.0, history="streaming")
"""The fastest setting, as accurate as any (docs/decoding.md): with a scene, tokens hardly depend on each other."""
CAMERA: Options = ("--camera", "head", "--base", "base", "--limbs", "left_hand", "right_hand")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomConfig(CheckedFields):
    """Makes a checkpoint of the room."""

    directory: Path
    """Directory for recordings, tokens and runs (about 8 GB; 16 GB with 128 pixels)."""
    destination: Path
    """Directory for the checkpoint. Each of its files is below 16 MiB."""
    image_size: Annotated[int, Ge(16), Le(1024), MultipleOf(8)] = 64
    """Height and width of the pictures; each token stands for 8 x 8 pixels."""
    initial: str | None = None
    """Checkpoint to start from, also one of another image size: its tokenizer is used as it is until the decoder is
    trained, and its scene and world model are trained further; by default, all weights are random at first."""
    decoding_steps: CountOrZero = 1
    """Decoding steps of the checkpoint. With 0, its scene alone predicts, in half the time (docs/decoding.md), and the
    world model is hardly trained."""
    precision: TrainingPrecision = "auto"
    """Number type of all trainings; to continue one on a processor of another kind, name that of its beginning."""
    device: str = "auto"
    """Device that computes: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    minutes: Positive | None = None
    """Time for all trainings together; recording, encoding and calibration come on top. By default, trainings take as
    many steps as those of the checkpoint that comes with hwm_env, and fewer if they start from another checkpoint."""
    report: tuple[Path, Path] | None = None
    """JSON and PNG file for the calibration's measurements."""


class Stages:
    """Runs the commands of the stages that have not been finished yet."""

    def __init__(self, config: RoomConfig) -> None:
        self._config = config
        self.device = check_device(config.device)
        config.directory.mkdir(parents=True, exist_ok=True)

    def is_finished(self, stage: str) -> bool:
        """Returns whether a stage need not be run."""
        return (self._config.directory / f"{stage}.finished").exists()

    def finish(self, stage: str) -> None:
        """Notes that a stage need not be run again."""
        (self._config.directory / f"{stage}.finished").touch()

    def start(self, stage: str, *words: object, processes: int = 1) -> subprocess.Popen[bytes] | None:
        """Starts the command of a stage; returns `None` if it is finished."""
        if self.is_finished(stage):
            return None
        command = [*self._launcher(processes), *map(str, words)]
        logger.info("%s: %s", stage, shlex.join(command))
        threads = {} if self.device.type != "cpu" or processes == 1 else {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env={**os.environ, **threads})

    def end(self, stage: str, started: subprocess.Popen[bytes] | None) -> None:
        """Waits for the command of a stage.

        Raises:
            HWMError: it failed.
        """
        if started is not None:
            if code := started.wait():
                raise HWMError(f"the stage {stage} ended with exit code {code}; see its error above")
            self.finish(stage)

    def run(self, stage: str, *words: object, processes: int = 1) -> None:
        """Runs the command of a stage.

        Raises:
            HWMError: it failed.
        """
        self.end(stage, self.start(stage, *words, processes=processes))

    @staticmethod
    def _launcher(processes: int) -> list[str]:
        # Commands end with this process.
        ending = [sys.executable, "-m", "hwm_env.workers", str(os.getpid())]
        if processes == 1:
            return [*ending, "hwm_env"]
        return [*ending, "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "hwm_env"]


def make_room(config: RoomConfig) -> None:
    """Runs all stages that have not run yet."""
    stages = Stages(config)
    begun, scene_alone = config.initial is not None, config.decoding_steps == 0
    recipes = recipes_for(stages.device.type, config.minutes, begun=begun, scene_alone=scene_alone)
    initial: Options = () if config.initial is None else ("--initial", config.initial)
    root = config.directory
    splits: Options = (str(root / "train"), "--validation", str(root / "validation"))
    computing: Options = ("--device", config.device)
    training: Options = (*computing, "--precision", config.precision)
    _record_and_encode(stages, root, config, recipes)
    base, scene_run, model_run = root / "base", root / "scene", root / "world-model"
    if not stages.is_finished("base"):
        checkpoints.save(_untrained(root, config), base)
        stages.finish("base")
    scene = ("train-scene", base, *splits, "--out", scene_run, "--robot", root / "robot.xml", *CAMERA, *computing)
    scene = (*scene, *initial, "--model.precision", config.precision, *recipes.scene, *recipes.odometry)
    # The map and the read-out do not need each other; the bound of unknown places needs both.
    mapping = stages.start("map", *scene, "--model-only", *_resumed(scene_run))
    stages.run("read-out", "train-readout", base, *splits, *training, *recipes.readout)
    stages.end("map", mapping)
    stages.run("scene", *scene, "--resume")
    learning = ("train", *splits, "--tokenizer", base, "--scene", base, "--out", model_run, "--seed", SEED, *training)
    # A model that has begun keeps its shape.
    shape = initial or ("--model.temporal-scope", "pooled")
    options = ("--preset", "room-64", *shape, "--steps", recipes.world_model_steps, *recipes.world_model)
    stages.run("world-model", *learning, *options, *_resumed(model_run), processes=recipes.processes)
    if not stages.is_finished("assembly"):
        checkpoints.save(_assembled(root, config, recipes), config.destination)
        stages.finish("assembly")
    recordings = (root / "train-raw", "--validation", root / "validation-raw")
    decoder_run = root / "decoder"
    decoder = ("train-decoder", config.destination, *recordings, "--out", decoder_run, "--seed", SEED, *training)
    stages.run("decoder", *decoder, *recipes.decoder, *_resumed(decoder_run))
    report = () if config.report is None else ("--json", config.report[0], "--plot", config.report[1])
    calibration = ("calibrate", config.destination, "--data", root / "train", *computing, *recipes.calibration)
    stages.run("calibration", *calibration, *report)


def _record_and_encode(stages: Stages, root: Path, config: RoomConfig, recipes: Recipes) -> None:
    from hwm_env.reference.mujoco_model import mujoco_xml

    (root / "robot.xml").write_text(mujoco_xml())
    workers = os.cpu_count() or 1
    for split, episodes in (("train", recipes.train_episodes), ("validation", recipes.validation_episodes)):
        recording = ("collect", root / f"{split}-raw", "--split", split, "--episodes", episodes, "--seed", SEED)
        how = ("--image-size", config.image_size, "--behaviour", "both", "--workers", workers)
        stages.run(f"record-{split}", *recording, *how)
    if config.initial is None:
        recordings = (root / "train-raw", "--validation", root / "validation-raw")
        options = ("--device", config.device, "--precision", config.precision, "--seed", SEED, *recipes.tokenizer)
        run = root / "tokenizer"
        stages.run("tokenizer", "train-tokenizer", *recordings, "--out", run, *options, *_resumed(run))
    tokenizer = config.initial or root / "tokenizer"
    processes = workers if stages.device.type == "cpu" else 1
    for split, offsets in (("train", recipes.offsets), ("validation", ("0",))):
        words = ("tokenize", root / f"{split}-raw", root / split, "--tokenizer", tokenizer, "--offsets", *offsets)
        stages.run(f"encode-{split}", *words, "--workers", processes, "--device", config.device)


def _resumed(run: Path) -> Options:
    return ("--resume",) if run.exists() else ()


def _untrained(root: Path, config: RoomConfig) -> Checkpoint:
    """Returns a checkpoint with the tokenizer, for the stages before the world model."""
    data, validation = Dataset(root / "train"), Dataset(root / "validation")
    statistics = ActionStatistics.from_dataset(data)
    tokenizer = checkpoints.load_tokenizer(config.initial or root / "tokenizer")
    starts = Starts.from_dataset(validation, HISTORY_CLIPS, NUM_STARTS, seed=SEED)
    shape = fitted(ROOM_64, data, tokenizer)
    return Checkpoint(new_model(shape, statistics, SEED), tokenizer, statistics, starts)


def _assembled(root: Path, config: RoomConfig, recipes: Recipes) -> Checkpoint:
    """Returns the trained checkpoint, not yet calibrated."""
    base, trained = checkpoints.load(root / "base"), checkpoints.load(root / "world-model" / "checkpoint")
    made_by = {
        "command": shlex.join(["python", "-m", "docs.studies.room", *sys.argv[1:]]),
        "data": {"train_episodes": recipes.train_episodes, "offsets": recipes.offsets, "seed": SEED},
        "tokenizer": config.initial or shlex.join(recipes.tokenizer),
        "readout": base.provenance["readout"],
    }
    provenance = {**trained.provenance, **made_by}
    decoding = replace(DECODING, steps=config.decoding_steps)
    return replace(trained, readout=base.readout, decoding=decoding, provenance=provenance)


def main() -> None:
    """Makes a checkpoint of the room from the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with exit_with_one_line():
        make_room(parse_config(RoomConfig, program="python -m docs.studies.room"))


if __name__ == "__main__":
    main()
