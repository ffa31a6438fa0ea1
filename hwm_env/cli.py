"""The command `hwm-env`: one small function a subcommand, whose signature and docstring are its options and help."""

import dataclasses
import functools
import json as json_module
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from hwm_env.errors import HWMError

EXIT_BAD_INPUT = 2

RecordingsArgument = Positional[Annotated[Path, arg(metavar="RECORDINGS")]]
DataArgument = Positional[Annotated[Path, arg(metavar="DATA")]]
CheckpointArgument = Positional[Annotated[Path, arg(metavar="CHECKPOINT")]]
OutArgument = Positional[Annotated[Path, arg(metavar="OUT")]]
OptionalOutArgument = Positional[Annotated[Path | None, arg(metavar="[OUT]")]]
ForeignArgument = Positional[Annotated[Path, arg(metavar="DIR")]]


def collect(
    out: OutArgument,
    /,
    *,
    episodes: int = 100,
    seed: int = 0,
    split: str = "train",
    image_size: int = 64,
    clips_per_episode: int = 24,
    workers: int = 2,
) -> None:
    """Records teleoperated episodes of the reference world (needs the reference extra).

    Args:
        out: new directory for the recording: images, states and true poses in the 1X v2.0 layout.
        episodes: number of episodes; each is one segment.
        seed: seed of the behaviour; equal seeds give equal recordings whatever the number of workers.
        split: name of the split, kept in the metadata.
        image_size: height and width of the images in pixels.
        clips_per_episode: length of an episode in clips of 17 frames.
        workers: number of processes.
    """
    from hwm_env.reference.collect import collect as collect_episodes

    collect_episodes(
        out,
        num_episodes=episodes,
        seed=seed,
        split=split,
        clips_per_episode=clips_per_episode,
        image_size=image_size,
        workers=workers,
    )


def _tokenizer_training_config() -> type:
    from hwm_env.training.tokenizer import TokenizerTrainingConfig

    return TokenizerTrainingConfig


def train_tokenizer(
    recordings: RecordingsArgument,
    /,
    *,
    out: Path,
    config: Annotated[Any, arg(constructor_factory=_tokenizer_training_config, name="")],
    validation: Path | None = None,
    resume: bool = False,
) -> None:
    """Trains the embedded video tokenizer on the images of a recording.

    Args:
        recordings: directory that `hwm-env collect` wrote.
        out: directory for the tokenizer.
        config: what to train and for how long.
        validation: another recording, which the training does not see, to measure the PSNR on.
        resume: go on with an interrupted training in the same directory.
    """
    from hwm_env.training import tokenizer

    tokenizer.train_tokenizer(recordings, out, config, resume, validation=validation)


def tokenize(
    recordings: RecordingsArgument,
    out: OutArgument,
    /,
    *,
    tokenizer: str,
    offsets: tuple[int, ...] = (0,),
) -> None:
    """Turns the images of a recording into a data set of tokens.

    Args:
        recordings: directory that `hwm-env collect` wrote.
        out: new directory for the tokens, states and segments.
        tokenizer: file or directory that `hwm-env train-tokenizer` wrote, or the name or directory of a checkpoint.
        offsets: frames to leave out at the beginning of each shard, one pass over the recording for each; more offsets
            show the model more ways to cut the same motion into clips.
    """
    from hwm_env import checkpoint
    from hwm_env.tokenizers.recordings import tokenize_recordings
    from hwm_env.tokenizers.tiny import TinyTokenizer

    path = Path(tokenizer)
    is_checkpoint = not path.exists() or (path / "config.json").is_file()
    loaded = checkpoint.load(tokenizer).tokenizer if is_checkpoint else TinyTokenizer.load(path)
    tokenize_recordings(recordings, out, loaded, offsets)


def _model_config() -> type:
    from hwm_env.model.config import MaskedHWMConfig

    return MaskedHWMConfig


def _training_config() -> type:
    from hwm_env.training.world_model import TrainingConfig

    return TrainingConfig


def train(
    data: DataArgument,
    /,
    *,
    validation: Path,
    tokenizer: Path,
    out: Path,
    config: Annotated[Any, arg(constructor_factory=_training_config, name="")],
    model: Annotated[Any, arg(constructor_factory=_model_config)],
    resume: bool = False,
    device: str = "cpu",
) -> None:
    """Trains a world model and writes a checkpoint that HWM-v0 can load.

    Args:
        data: training split that `hwm-env tokenize` wrote.
        validation: another split, made by the same tokenizer; the checkpoint's starts are taken from it.
        tokenizer: file or directory of the tokenizer.
        out: directory for the run; the checkpoint is written to `checkpoint/` in it.
        config: the recipe.
        model: shape of the model.
        resume: go on with an interrupted training in the same directory.
        device: where to train.
    """
    from hwm_env import checkpoint
    from hwm_env.data.reader import Dataset
    from hwm_env.tokenizers.tiny import TinyTokenizer
    from hwm_env.training.assemble import assemble, check_tokenizer
    from hwm_env.training.world_model import train_world_model

    splits = Dataset(data), Dataset(validation)
    loaded = TinyTokenizer.load(tokenizer)
    check_tokenizer(loaded, *splits)
    trained = train_world_model(*splits, out, model, config, resume=resume, device=device)
    provenance = {"data": dict(splits[0].metadata.extra), "world_model": dataclasses.asdict(config)}
    checkpoint.save(assemble(trained.cpu(), loaded, *splits, provenance), out / "checkpoint")


def _readout_training_config() -> type:
    from hwm_env.training.readout import ReadoutTrainingConfig

    return ReadoutTrainingConfig


def train_readout(
    checkpoint: CheckpointArgument,
    data: DataArgument,
    /,
    *,
    validation: Path,
    config: Annotated[Any, arg(constructor_factory=_readout_training_config, name="")],
    json: Path | None = None,
) -> None:
    """Trains the read-out that recovers the robot's pose from tokens, and puts it into a checkpoint.

    Args:
        checkpoint: directory of the checkpoint.
        data: training split with tokens and true poses.
        validation: another split, on which the read-out's error is measured.
        config: the recipe.
        json: file for the measured error.
    """
    from hwm_env import checkpoint as checkpoints
    from hwm_env.data.reader import Dataset
    from hwm_env.training.assemble import check_tokenizer, with_readout
    from hwm_env.training.readout import judge_readout
    from hwm_env.training.readout import train_readout as run

    loaded = checkpoints.load(checkpoint)
    splits = Dataset(data), Dataset(validation)
    check_tokenizer(loaded.tokenizer, *splits)
    readout = run(splits[0], config, loaded.model.config)
    error = dataclasses.asdict(judge_readout(readout, splits[1]))
    provenance = {"recipe": dataclasses.asdict(config), "validation_error": error}
    checkpoints.save(with_readout(loaded, readout, provenance), checkpoints.resolve(checkpoint))
    _report(error, json)


def import_checkpoint(
    directory: ForeignArgument,
    out: OptionalOutArgument = None,
    /,
    *,
    tokenizer: Path | None = None,
    data: Path | None = None,
) -> None:
    """Turns a foreign Masked-HWM checkpoint into one that HWM-v0 can load.

    Args:
        directory: holds its pytorch_model.bin (or model.safetensors) and, if there is one, its config.json.
        out: directory for the checkpoint; by default out/imported/ and the name of DIR.
        tokenizer: file or directory of the tokenizer; by default an untrained one stands in, whose frames mean nothing.
        data: data set with tokens that gives the starts and the bounds of actions; by default the starts are random and
            the bounds those of the reference robot.
    """
    from hwm_env import importing

    written = out or Path("out/imported") / directory.resolve().name
    importing.import_checkpoint(directory, written, tokenizer, data)
    print(f"wrote {written}; play it with gymnasium.make('HWM-v0', checkpoint={str(written)!r}, task=None)")


def fidelity(
    *,
    checkpoint: str = "reference",
    recording: Path | None = None,
    starts: int = 100,
    steps: int = 10,
    decoding_steps: int | None = None,
    temperature: float | None = None,
    order: Literal["confidence", "random", "halton"] | None = None,
    history: Literal["window", "streaming"] | None = None,
    precision: Literal["float32", "bfloat16", "int8"] = "float32",
    seed: int = 0,
    json: Path | None = None,
    film_strip: Path | None = None,
    device: str = "cpu",
) -> None:
    """Judges a checkpoint on held-out episodes: next clip and closed loop, with baselines.

    Args:
        checkpoint: name or directory of the checkpoint.
        recording: recording with images to judge on; by default, a held-out split of the reference world is recorded
            to out/held-out first (needs the reference extra).
        starts: episodes; each starts a closed loop and gives its windows of nine clips to the next-clip measure.
        steps: env steps of the closed loop.
        decoding_steps: decoding steps; by default those of the checkpoint.
        temperature: sampling temperature; by default that of the checkpoint.
        order: in which order tokens are revealed; by default that of the checkpoint.
        history: whether the past is encoded anew at each step, or each clip once; by default as in the checkpoint.
        precision: number type of the model's matrix products.
        seed: of the worlds and of the shuffled actions.
        json: file for the measurements.
        film_strip: PNG file for a picture of closed loops: truth above prediction (needs the demo extra).
        device: where to run.
    """
    from hwm_env.evaluation.fidelity import measure
    from hwm_env.evaluation.film_strip import closed_loop_strips
    from hwm_env.evaluation.held_out import HeldOut, record_held_out
    from hwm_env.simulator import WorldSimulator
    from hwm_env.types import HISTORY_CLIPS

    simulator = WorldSimulator.from_pretrained(
        checkpoint,
        device=device,
        decoding_steps=decoding_steps,
        temperature=temperature,
        order=order,
        history=history,
        precision=precision,
    )
    clips = HISTORY_CLIPS + steps
    if recording is None:
        recording = record_held_out(Path("out/held-out"), starts, clips, simulator.checkpoint.image_size)
    held_out = HeldOut(recording, simulator.tokenizer, clips_per_episode=clips, num_episodes=starts)
    report = measure(simulator, held_out, closed_loop_steps=steps, seed=seed).to_dict()
    report["checkpoint"] = {"name": checkpoint, "identity": simulator.checkpoint.identity}
    report["decoding"] = dataclasses.asdict(simulator.decoding) | {"precision": precision}
    if film_strip is not None:
        closed_loop_strips(simulator, held_out, steps, film_strip, seed=seed)
    _report(report, json)


def presets() -> None:
    """Lists the models that have a name: parameters, operations and memory, as a Markdown table (takes a minute)."""
    from hwm_env.model.cost import table
    from hwm_env.model.presets import PRESETS

    print(table(PRESETS))


def _report(content: dict[str, Any], file: Path | None) -> None:
    """Prints measurements, and writes them to a file if one is wanted."""
    text = json_module.dumps(content, indent=2)
    print(text)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")


COMMANDS: dict[str, Callable[..., None]] = {
    "collect": collect,
    "train-tokenizer": train_tokenizer,
    "tokenize": tokenize,
    "train": train,
    "train-readout": train_readout,
    "import-checkpoint": import_checkpoint,
    "fidelity": fidelity,
    "presets": presets,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        argv: the arguments after the program's name; by default those of the process.

    Returns:
        The exit code: 0 on success, 2 on bad input. As usual, bad options and `--help` exit at once instead.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("hwm_env").setLevel(logging.INFO)
    try:
        run = tyro.extras.subcommand_cli_from_dict(
            {name: _deferred(command) for name, command in COMMANDS.items()},
            prog="hwm-env",
            description="A learned simulator of a humanoid robot, from recordings to evaluation.",
            args=argv,
        )
        run()
    except (HWMError, OSError) as error:
        print(f"hwm-env: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command, to be run later: tyro takes a ValueError while it parses for a bad option and hides where it was."""

    @functools.wraps(command)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **kwargs)

    return bind
