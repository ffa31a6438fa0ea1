"""`hwm-env train`: a training of a world model, from data and a tokenizer to a checkpoint that plays."""

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Self

from tyro.conf import arg

from hwm_env.arguments import DataArgument, Flat
from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count, CountOrZero
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.reporting import PYTHON, Caller, play_hint
from hwm_env.training.world_model.recipe import TRAINING_PRESETS, TrainingConfig

DEFAULT_PRESET: Final = "room-64"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldModelRunConfig(CheckedFields):
    """Data, directory, model and recipe of a world model's training; `of_preset` fills in model and recipe."""

    data: DataArgument
    """Training split that `hwm-env tokenize` wrote, or one from 1X."""
    tokenizer: str
    """File or directory of the tokenizer that made the tokens, or a checkpoint that has it."""
    out: Path
    """Directory for the run: `checkpoint` in it is the newest checkpoint, `best` the one that predicts the next
    validation clip best, `tensorboard` has curves and sample videos."""
    recipe: Flat[TrainingConfig]
    """How the model is trained; defaults are those of the preset."""
    model: MaskedHWMConfig
    """Shape of the model; defaults are those of the preset, grid and codebook those of the data."""
    preset: Annotated[str, arg(metavar="|".join(TRAINING_PRESETS))] = DEFAULT_PRESET
    """Model and recipe to start from. "quick" is a trial: 50 steps on a part of the data, then comparison videos."""
    validation: Path | None = None
    """Another split, made by the same tokenizer; the starts of the checkpoint come from it. By default a twentieth of
    the recordings is held out."""
    initial: str | None = None
    """Checkpoint whose world model to start from, instead of random weights; pass the same one as `tokenizer`, or its
    tokenizer trained further, since the model knows the meaning of its tokens only. The token grid may be another
    one."""
    scene: str | None = None
    """Checkpoint whose scene the model reads (see `hwm-env train-scene`), made for the same tokens; the new checkpoints
    contain it. Needs base poses in the data."""
    resume: bool = False
    """Continue the run that is in `out`, started with the same options."""
    keep: Count = 2
    """Newest checkpoints to keep, beside the best."""
    workers: CountOrZero = 2
    """Threads that read data ahead."""
    device: str = "auto"
    """Device that trains: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""
    compile: bool = False
    """Compile the model's blocks, which takes a minute or two; steps are faster on a GPU."""

    @classmethod
    def of_preset(cls, preset: str = DEFAULT_PRESET, **fields: Any) -> Self:
        """Returns a config with the model and the recipe of a preset, unless `fields` contain others.

        Raises:
            InvalidInputError: there is no such preset, or a field has a value that is not allowed.
        """
        return cls(**preset_fields(preset) | fields)

    def check_together(self) -> None:
        """Raises InvalidInputError if there is no such preset."""
        preset_fields(self.preset)


def preset_fields(preset: str) -> dict[str, Any]:
    """Returns the fields of a WorldModelRunConfig that a preset determines.

    Raises:
        InvalidInputError: there is no such preset.
    """
    if preset not in TRAINING_PRESETS:
        raise InvalidInputError(f"preset must be one of {', '.join(TRAINING_PRESETS)}, got {preset!r}")
    chosen = TRAINING_PRESETS[preset]
    return {"recipe": chosen.training, "model": chosen.model, "preset": preset}


def run_world_model_training(config: WorldModelRunConfig, caller: Caller = PYTHON) -> Path:
    """Trains a world model and writes checkpoints that HWM-v0 can load; also under `accelerate launch`.

    Returns:
        The directory of the newest checkpoint.

    Raises:
        TrainingStopped: a signal asked the training to stop; its state is saved.
        InvalidInputError: options exclude each other, or a run is in the way or has another configuration.
        CheckpointError: a checkpoint or tokenizer cannot be loaded, or did not make the tokens.
        DatasetError: a split cannot be read or used.
        DivergedError: the loss is not finite any more.
        SavingError: a file cannot be written.
    """
    # The command's help needs none of these.
    from hwm_env.checkpoint import load, load_tokenizer
    from hwm_env.data.format import ShardFile
    from hwm_env.data.reader import Dataset
    from hwm_env.evaluation.reports.comparison_videos import write_comparisons
    from hwm_env.simulator import WorldSimulator
    from hwm_env.tokenizers.tiny import TinyTokenizer
    from hwm_env.training.world_model.split import fitted, hold_out
    from hwm_env.training.world_model.train import train_world_model

    tokenizer, data = load_tokenizer(config.tokenizer), Dataset(config.data)
    splits = hold_out(data) if config.validation is None else (data, Dataset(config.validation))
    model, scene, origin = fitted(config.model, splits[0], tokenizer), None, {}
    if config.scene is not None:
        from hwm_env.training.world_model.scene_inputs import scene_of

        source = load(config.scene)
        scene = scene_of(source, *splits)
        model = replace(model, scene_width=scene.input_width)
        origin = {"scene": {**source.provenance.get("scene", {}), "checkpoint": config.scene}}
    checkpoint = train_world_model(
        *splits,
        tokenizer,
        config.out,
        model,
        config.recipe,
        resume=config.resume,
        initial=None if config.initial is None else load(config.initial).model,
        scene=scene,
        max_samples=TRAINING_PRESETS[config.preset].max_samples,
        keep=config.keep,
        workers=config.workers,
        device=config.device,
        compiled=config.compile,
        provenance={
            "data": dict(splits[0].metadata.extra),
            "preset": config.preset,
            "initial": config.initial,
            **origin,
        },
    )
    # Launchers start this in several processes, and tell each of them its rank.
    if os.environ.get("RANK", "0") != "0":
        return checkpoint
    named = None if isinstance(tokenizer, TinyTokenizer) else config.tokenizer
    caller.show(f"wrote {checkpoint}; play it with {play_hint(config.out / 'checkpoint', named)}")
    if config.scene is None:
        caller.show(_scene_hint(config, named, has_poses=splits[0].has(ShardFile.POSES)))
    if config.preset == "quick":
        simulator = WorldSimulator.from_pretrained(checkpoint, tokenizer=config.tokenizer)
        write_comparisons(simulator, splits[1], config.out / "comparisons")
        caller.show(f"wrote comparison videos to {config.out / 'comparisons'}")
    return checkpoint


def _scene_hint(config: WorldModelRunConfig, tokenizer: str | None, *, has_poses: bool) -> str:
    """What to do about the drift of a world without a scene; `tokenizer` is one that the checkpoint does not hold."""
    from hwm_env.checkpoint import TOKENIZER_VARIABLE

    if not has_poses:
        return "the data have no base poses, so the world has no map of its room and drifts"
    validation = config.data if config.validation is None else config.validation
    splits = [config.data, "--validation", validation]
    words = ["hwm-env", "train-scene", config.out / "checkpoint", *splits, "--out", config.out / "scene"]
    setting = "" if tokenizer is None else f"{TOKENIZER_VARIABLE}={shlex.quote(tokenizer)} "
    command = setting + shlex.join(map(str, words))
    return f"the data have base poses: give the world a map, so that it does not drift, with\n{command}"
