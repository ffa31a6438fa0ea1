"""The command `hwm-env`: one small function a subcommand, whose signature and docstring are its options and help."""

import argparse
import dataclasses
import functools
import inspect
import io
import json as json_module
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from hwm_env.data.files import check_writable, same_place, shown, write_json, writing
from hwm_env.devices import check_device
from hwm_env.errors import HWMError, InvalidInputError
from hwm_env.fields import CountOrZero, checked
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.training.recipe import TRAINING_PRESETS, TrainingConfig, TrainingPreset
from hwm_env.training.stopping import TrainingStopped
from hwm_env.workers import end_with_parent

EXIT_BAD_INPUT = 2
EXIT_BY_SIGNAL = 128
OUTPUTS = {
    "json": ".json",
    "page": ".html",
    "plot": ".png",
    "film_strip": ".png",
    "contact_sheet": ".png",
    "video": ".mp4",
}
"""Options that name a file to write, and how existing ones must end to be replaced."""
PARTS = ("config.json", "metadata.json")
"""Files of checkpoints and data sets, which no report replaces."""

DEFAULT_PRESET = "masked_hwm_full"

RecordingsArgument = Positional[Annotated[Path, arg(metavar="RECORDINGS")]]
SourceArgument = Positional[Annotated[Path, arg(metavar="SOURCE")]]
DataArgument = Positional[Annotated[Path, arg(metavar="DATA")]]
CheckpointArgument = Positional[Annotated[Path, arg(metavar="CHECKPOINT")]]
OutArgument = Positional[Annotated[Path, arg(metavar="OUT")]]
OptionalOutArgument = Positional[Annotated[Path | None, arg(metavar="[OUT]")]]
ReplayArgument = Positional[Annotated[Path, arg(metavar="FILE")]]
ForeignArgument = Positional[Annotated[Path, arg(metavar="DIR")]]
CheckpointNameArgument = Positional[Annotated[str, arg(metavar="[CHECKPOINT]")]]
PoliciesArgument = Positional[Annotated[tuple[str, ...], arg(metavar="POLICY [POLICY ...]")]]


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
    behaviour: Literal["teleoperator", "commander", "both"] = "teleoperator",
    videos: bool = False,
) -> None:
    """Records episodes of the reference world (needs the reference extra).

    Args:
        out: new directory for the recording: images, states and true poses in the 1X v2.0 layout.
        episodes: number of episodes; each is one segment.
        seed: seed of the behaviour; equal seeds give equal recordings whatever the number of workers.
        split: name of the split, kept in the metadata.
        image_size: height and width of the images in pixels.
        clips_per_episode: length of an episode in clips of 17 frames.
        workers: number of processes.
        behaviour: a smooth teleoperator, a commander who gives sudden commands, or both in turn.
        videos: write the same episodes as MP4 videos beside CSV tables of states instead, as recordings of another
            robot would come (needs the data extra).
    """
    if videos:
        from hwm_env.reference.video_episodes import collect_videos as collect_episodes
    else:
        from hwm_env.reference.collect import collect as collect_episodes

    collect_episodes(
        out,
        num_episodes=episodes,
        seed=seed,
        split=split,
        clips_per_episode=clips_per_episode,
        image_size=image_size,
        workers=workers,
        behaviour=behaviour,
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
    initial: str | None = None,
    resume: bool = False,
) -> None:
    """Trains the embedded video tokenizer on the images of a recording.

    Args:
        recordings: directory that `hwm-env collect` wrote.
        out: directory for the tokenizer.
        config: what to train and for how long.
        validation: another recording, which the training does not see, to measure the PSNR on.
        initial: a tokenizer to start from, instead of random weights, or a checkpoint that has it.
        resume: go on with an interrupted training in the same directory.
    """
    from hwm_env.checkpoint import load_tokenizer
    from hwm_env.training import tokenizer

    start = None if initial is None else load_tokenizer(initial)
    tokenizer.train_tokenizer(recordings, out, config, resume, validation=validation, initial=start)


def tokenize(
    source: SourceArgument,
    out: OutArgument,
    /,
    *,
    tokenizer: str,
    offsets: tuple[int, ...] = (0,),
    mapping: Path | None = None,
    image_size: int | None = None,
    workers: int = 1,
    device: str = "cpu",
) -> None:
    """Turns videos beside states, or a recording with raw images, into a data set of tokens at 30 Hz.

    Stopped at any moment and run again with the same options, it goes on where it was.

    Args:
        source: directory of videos, each beside its states (walk.mp4 and walk.csv, walk.parquet or walk.npy; needs the
            data extra), or one that `hwm-env collect` wrote.
        out: new directory for the tokens, states and segments; a shard for each video (or shard) and offset.
        tokenizer: directory with encoder.jit and decoder.jit (Cosmos), file or directory that `hwm-env train-tokenizer`
            wrote, or the name or directory of a checkpoint.
        offsets: frames to leave out at the beginning of each shard, one pass over the source for each; more offsets
            show the model more ways to cut the same motion into clips.
        mapping: JSON file that says what the states' columns mean: "columns" (our names to theirs, or to column numbers
            of .npy; base_x, base_y and base_yaw are the pose; "observation.state[3]" is one number of a column of
            lists), "time" (column of dates with times, durations, or numbers of s, ms, us or ns) or "hz" (rows a
            second), "fill" (values of what is missing, else 0), "angle_unit" ("rad" or "deg"). By default columns have
            our names, and "time" gives the times if it is there, else a row is a frame.
        image_size: cut the middle square out of what a player shows of videos, and scale it to this many pixels
            (Cosmos: 256); by default they keep their size, whose sides must be multiples of 8.
        workers: number of processes, each with a tokenizer of its own.
        device: where to encode.
    """
    from hwm_env.checkpoint import load_tokenizer
    from hwm_env.data.state_tables import StateMapping
    from hwm_env.tokenizers.recordings import tokenize_recordings

    tokenize_recordings(
        source,
        out,
        functools.partial(load_tokenizer, tokenizer, device=device),
        offsets,
        mapping=None if mapping is None else StateMapping.read(mapping),
        image_size=image_size,
        workers=workers,
        device=device,
    )


def inspect_data(
    data: DataArgument,
    /,
    *,
    tokenizer: str | None = None,
    contact_sheet: Path | None = None,
    json: Path | None = None,
) -> None:
    """Shows what a data set contains: segments, clips that can be used, tokens, action ranges, pictures.

    Args:
        data: data set, of any split and size.
        tokenizer: what made its tokens, to decode them for the contact sheet; as for `hwm-env tokenize`.
        contact_sheet: PNG file for frames of evenly spread clips: raw, decoded, or both side by side (needs the
            evaluation extra).
        json: file for what is printed.
    """
    from hwm_env.checkpoint import load_tokenizer
    from hwm_env.data.inspection import describe
    from hwm_env.data.inspection import inspect as look_over
    from hwm_env.data.reader import Dataset
    from hwm_env.evaluation.reports.contact_sheet import draw_contact_sheet

    dataset = Dataset(data)
    inspection = look_over(dataset)
    print(describe(inspection))
    if json is not None:
        write_json(json, inspection.to_dict())
    if contact_sheet is not None:
        draw_contact_sheet(dataset, contact_sheet, None if tokenizer is None else load_tokenizer(tokenizer))


def train(
    data: DataArgument,
    /,
    *,
    tokenizer: str,
    out: Path,
    config: Annotated[TrainingConfig, arg(name="")],
    model: MaskedHWMConfig,
    preset: Annotated[str, arg(metavar="|".join(TRAINING_PRESETS))] = DEFAULT_PRESET,
    validation: Path | None = None,
    initial: str | None = None,
    scene: str | None = None,
    resume: bool = False,
    keep: int = 2,
    workers: int = 2,
    device: Literal["auto", "cpu"] = "auto",
) -> None:
    """Trains a world model and writes checkpoints that HWM-v0 can load; also under `accelerate launch`.

    Args:
        data: training split that `hwm-env tokenize` wrote, or one from 1X.
        tokenizer: file or directory of the tokenizer that made the tokens, or a checkpoint that has it.
        out: directory for the run: `checkpoint` in it is the newest checkpoint, `best` the one that predicts the next
            validation clip best, `tensorboard` has curves and sample videos.
        config: the recipe; defaults are those of the preset.
        model: shape of the model; defaults are those of the preset, grid and codebook those of the data.
        preset: model and recipe to start from. "quick" is a try-out: 50 steps on a part of the data, then comparison
            videos.
        validation: another split, made by the same tokenizer; the checkpoint's starts are taken from it. By default a
            twentieth of the recordings is held out.
        initial: a checkpoint whose world model to start from, instead of random weights; give `tokenizer` the same one,
            or its tokenizer trained further, since tokens mean to a model what they meant in its training.
        scene: a checkpoint whose scene the model shall read (see `hwm-env train-scene`), made for the same tokens; the
            checkpoints have it too. Needs base poses in the data.
        resume: go on with the run that is in `out`, started with the same options.
        keep: newest checkpoints to keep, beside the best.
        workers: threads that read data ahead.
        device: where to train; "auto" takes a GPU where there is one.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # Nothing may go on writing when the launcher was killed and the training is started again.
        end_with_parent(os.getppid())
    from hwm_env.checkpoint import load, load_tokenizer
    from hwm_env.data.format import ShardFile
    from hwm_env.data.reader import Dataset
    from hwm_env.evaluation.reports.comparison_videos import write_comparisons
    from hwm_env.simulator import WorldSimulator
    from hwm_env.training.split import fitted, hold_out
    from hwm_env.training.world_model import train_world_model

    loaded = load_tokenizer(tokenizer)
    splits = hold_out(Dataset(data)) if validation is None else (Dataset(data), Dataset(validation))
    shape, room, origin = fitted(model, splits[0], loaded), None, {}
    if scene is not None:
        from hwm_env.training.scene_inputs import scene_of

        source = load(scene)
        room = scene_of(source, *splits)
        shape = dataclasses.replace(shape, scene_width=room.input_width)
        origin = {"scene": {**source.provenance.get("scene", {}), "checkpoint": scene}}
    checkpoint = train_world_model(
        *splits,
        loaded,
        out,
        shape,
        config,
        resume=resume,
        initial=None if initial is None else load(initial).model,
        scene=room,
        max_samples=TRAINING_PRESETS[preset].max_samples,
        keep=keep,
        workers=workers,
        device=device,
        provenance={
            "data": dict(splits[0].metadata.extra),
            "preset": preset,
            "initial": initial,
            **origin,
        },
    )
    # Launchers start this in several processes, and say to each which one it is.
    if os.environ.get("RANK", "0") != "0":
        return
    print(f"wrote {checkpoint}; play it with gymnasium.make('HWM-v0', checkpoint='{out}/checkpoint', task=None)")
    if scene is None and splits[0].has(ShardFile.POSES):
        print("the data tell where the base was: hwm-env train-scene gives the world a map, so that it does not drift")
    elif scene is None:
        print("the data do not tell where the base was (poses), so the world has no map of its room and drifts")
    if preset == "quick":
        simulator = WorldSimulator.from_pretrained(checkpoint, tokenizer=tokenizer)
        write_comparisons(simulator, splits[1], out / "comparisons")
        print(f"wrote comparison videos to {out / 'comparisons'}")


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
    held_out_starts: int = 0,
    json: Path | None = None,
) -> None:
    """Trains the read-out that recovers where base, head and hands are from tokens, and puts it into a checkpoint.

    Args:
        checkpoint: directory of the checkpoint.
        data: training split with tokens and true poses.
        validation: another split, on which the read-out's error is measured.
        config: the recipe.
        held_out_starts: starts of closed loops with recorded actions, in which the error is measured too after 1, 5, 10
            and 20 env steps; 0 for none. A held-out split of the reference world is recorded to out/held-out for them
            (needs the reference extra).
        json: file for the measured errors.
    """
    from hwm_env import checkpoint as checkpoints
    from hwm_env.data.reader import Dataset
    from hwm_env.evaluation.worlds.held_out import record_held_out
    from hwm_env.evaluation.worlds.readout_error import CLOSED_LOOP_STEPS, measure_held_out
    from hwm_env.simulator import WorldSimulator
    from hwm_env.tokenizers.checks import check_tokenizer
    from hwm_env.training.assemble import with_readout
    from hwm_env.training.readout import judge_readout
    from hwm_env.training.readout import train_readout as run
    from hwm_env.types import HISTORY_CLIPS

    checked("--held-out-starts", held_out_starts, CountOrZero)
    loaded = checkpoints.load(checkpoint)
    splits = Dataset(data), Dataset(validation)
    check_tokenizer(loaded.tokenizer, *splits)
    config = config.resolved("cpu")
    readout = run(splits[0], config, loaded.model.config)
    error: dict[str, Any] = {"validation": judge_readout(readout, splits[1])}
    if held_out_starts:
        clips = HISTORY_CLIPS + max(CLOSED_LOOP_STEPS)
        recording = record_held_out(Path("out/held-out"), held_out_starts, clips, loaded.image_size)
        error["held_out"] = measure_held_out(readout, WorldSimulator(loaded), recording, starts=held_out_starts)
    provenance = {"recipe": dataclasses.asdict(config), "error": error}
    checkpoints.save(with_readout(loaded, readout, provenance), checkpoints.resolve(checkpoint))
    _report(error, json)


def _scene_recipes() -> type:
    from hwm_env.training.scene_checkpoint import SceneRecipes

    return SceneRecipes


def train_scene(
    checkpoint: CheckpointArgument,
    data: DataArgument,
    /,
    *,
    validation: Path,
    out: Path,
    recipes: Annotated[Any, arg(constructor_factory=_scene_recipes, name="")],
    robot: Path | None = None,
    camera: str = "head",
    base: str = "base",
    limbs: tuple[str, ...] = (),
    field_of_view_deg: float | None = None,
    resume: bool = False,
    device: str = "cpu",
) -> None:
    """Trains a map of the room and what carries the base's pose through it, and puts both into a checkpoint.

    Args:
        checkpoint: directory of the checkpoint, whose tokenizer made the tokens.
        data: training split with tokens and base poses.
        validation: another split, on which the scene is judged.
        out: directory of the run.
        recipes: how the parts are trained.
        robot: MJCF or URDF file of the robot, which says where the camera is whatever the joints do; those on the way
            to it must be named like the 25 numbers. Without one, that is learned from the numbers too, and the pictures
            are a little softer.
        camera: name of the camera (in URDF: of its link) in that file.
        base: name of the body (link) there whose pose the data tell.
        limbs: names of the bodies (links) there at which limbs end that the camera sees, such as the hands: arms become
            sharper.
        field_of_view_deg: of the camera, in height; by default as the robot's file says, else 90.
        resume: go on with the run that is in `out`.
        device: where to train.
    """
    from hwm_env import checkpoint as checkpoints
    from hwm_env.data.reader import Dataset
    from hwm_env.scene.map import MapConfig
    from hwm_env.scene.model import SceneConfig
    from hwm_env.scene.robot_description import read_camera, read_limb
    from hwm_env.training.scene_checkpoint import add_scene, map_around

    loaded = checkpoints.load(checkpoint)
    splits = Dataset(data), Dataset(validation)
    if limbs and robot is None:
        raise InvalidInputError(f"--limbs {' '.join(limbs)} are read from the robot's file; give --robot FILE")
    described = None if robot is None else read_camera(robot, camera, base)
    ends = () if robot is None else tuple(read_limb(robot, end, base) for end in limbs)
    stated = None if described is None else described.field_of_view_deg
    if described is not None:
        moved_by = [link.number for link in described.links if link.number is not None]
        print(f"the camera is moved by {', '.join(moved_by) or 'none of the 25 numbers: it is fixed to the base'}")
    shape = SceneConfig(
        fsq_levels=tuple(loaded.tokenizer.fsq_levels),
        grid_size=loaded.model.config.grid_size,
        field_of_view_deg=field_of_view_deg or stated or SceneConfig().field_of_view_deg,
        camera=None if described is None else described.links,
        limbs=ends,
        map=map_around(splits[0], MapConfig()),
    )
    whole = add_scene(loaded, *splits, out, shape, recipes, resume=resume, device=device)
    checkpoints.save(whole, checkpoints.resolve(checkpoint))
    print(f"put the scene into {checkpoint}: {whole.provenance['scene']['validation']}")


def import_checkpoint(
    directory: ForeignArgument,
    out: OptionalOutArgument = None,
    /,
    *,
    tokenizer: str | None = None,
    data: Path | None = None,
) -> None:
    """Turns a foreign Masked-HWM checkpoint into one that HWM-v0 can load.

    Args:
        directory: holds its pytorch_model.bin (or model.safetensors) and, if there is one, its config.json.
        out: directory for the checkpoint, new or empty, or with an earlier import of DIR; by default out/imported/ and
            the name of DIR.
        tokenizer: directory, file or checkpoint of the tokenizer; by default an untrained one stands in, whose frames
            mean nothing.
        data: data set with tokens that gives the starts and the bounds of actions; by default the starts are random and
            the bounds those of the reference robot.
    """
    from hwm_env import importing

    written = out or Path("out/imported") / directory.resolve().name
    importing.import_checkpoint(directory, written, tokenizer, data)
    print(f"wrote {written}; play it with gymnasium.make('HWM-v0', checkpoint={str(written)!r}, task=None)")


def generate(
    checkpoint: CheckpointArgument,
    data: DataArgument,
    /,
    *,
    out: Path,
    samples: int = 4,
    steps: int = 8,
    decoding_steps: int | None = None,
    temperature: float | None = None,
    lpips: Path | None = None,
    seed: int = 0,
    json: Path | None = None,
    device: str = "cpu",
) -> None:
    """Writes videos of closed loops beside the ground truth, and scores of each frame (needs the evaluation extra).

    Args:
        checkpoint: name or directory of the checkpoint.
        data: data set, of any split, that the checkpoint's tokenizer made; its raw images are the ground truth, or its
            tokens decoded where it has none.
        out: directory for the videos `sample_000_comparison.mp4` and so on, and for `metrics.json`, which appear
            together; new, empty, or with what this command wrote before.
        samples: videos, each of another stretch of the data set; fewer if there are not as many.
        steps: env steps (17 frames each) that are predicted, with the recorded actions.
        decoding_steps: decoding steps; by default those of the checkpoint.
        temperature: sampling temperature; by default that of the checkpoint.
        lpips: state dict of lpips.LPIPS(net="alex"), .safetensors or .pth, to score the frames with LPIPS as well.
        seed: of the worlds.
        json: another file for what `metrics.json` holds.
        device: where to run.
    """
    from hwm_env.data.reader import Dataset
    from hwm_env.evaluation.reports.comparison_videos import write_comparisons
    from hwm_env.simulator import WorldSimulator

    dataset = Dataset(data)
    simulator = WorldSimulator.from_pretrained(
        checkpoint, device=device, decoding_steps=decoding_steps, temperature=temperature
    )
    metrics = write_comparisons(simulator, dataset, out, samples=samples, steps=steps, seed=seed, lpips=lpips)
    if json is not None:
        write_json(json, metrics)
    _report({"written": str(out), "truth": metrics["truth"], "mean": metrics["mean"]}, None)


def fidelity(
    *,
    checkpoint: str = "room-64",
    recording: Path | None = None,
    starts: int = 200,
    steps: int = 20,
    decoding_steps: int | None = None,
    temperature: float | None = None,
    order: Literal["confidence", "random", "halton"] | None = None,
    history: Literal["window", "streaming"] | None = None,
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "float32",
    seed: int = 0,
    long_starts: int = 12,
    json: Path | None = None,
    film_strip: Path | None = None,
    plot: Path | None = None,
    device: str = "cpu",
) -> None:
    """Judges a checkpoint on held-out episodes: next clip and closed loop, with baselines.

    On recordings of the reference world also: where closed loops lead (by the read-out), what obstacles do, and whether
    each of seven actions does what it says. Of a checkpoint with a scene also: what the scene draws by itself, whether
    worlds know where they are, whether they show it, what is left of a view after turning away and back, and how true
    loops of 100 env steps stay.

    Args:
        checkpoint: name or directory of the checkpoint.
        recording: recording with images to judge on; by default, a held-out split of the reference world is recorded
            to out/held-out first (needs the reference extra).
        starts: episodes; each starts a closed loop and gives up to five windows of nine clips to the next-clip measure.
        steps: env steps of the closed loop.
        decoding_steps: decoding steps; by default those of the checkpoint.
        temperature: sampling temperature; by default that of the checkpoint.
        order: in which order tokens are revealed; by default that of the checkpoint.
        history: whether the past is encoded anew at each step, or each clip once; by default as in the checkpoint.
        precision: number type of the model's matrix products; "auto" is bfloat16 where the device has it in hardware,
            else float32.
        seed: of the worlds and of the shuffled actions.
        long_starts: long loops; their episodes are recorded in the reference world to out/long first. 0: none.
        json: file for the measurements.
        film_strip: PNG file for a picture of closed loops, from the best to the worst: truth above prediction (needs
            the evaluation extra).
        plot: PNG file for a plot of the closed loops' PSNR by env step (needs the evaluation extra).
        device: where to run.
    """
    from hwm_env.evaluation.reports.film_strip import closed_loop_strips
    from hwm_env.evaluation.reports.plots import write_loops
    from hwm_env.evaluation.worlds.fidelity import measure
    from hwm_env.evaluation.worlds.held_out import HeldOut, record_held_out
    from hwm_env.evaluation.worlds.long_loop import JUDGED_STEPS
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

    def long_episodes() -> HeldOut:
        long_clips = HISTORY_CLIPS + max(JUDGED_STEPS)
        size = simulator.checkpoint.image_size
        recorded = record_held_out(Path("out/long"), long_starts, long_clips, size, split="long")
        return HeldOut(recorded, simulator.tokenizer, clips_per_episode=long_clips, num_episodes=long_starts)

    has_long = long_starts > 0 and held_out.is_of_reference_world
    measured = measure(
        simulator, held_out, closed_loop_steps=steps, seed=seed, long_episodes=long_episodes if has_long else None
    )
    report = measured.to_dict()
    report["checkpoint"] = {"name": checkpoint, "identity": simulator.checkpoint.identity}
    report["decoding"] = dataclasses.asdict(simulator.decoding) | {"precision": simulator.precision}
    _report(report, json)
    if film_strip is not None:
        closed_loop_strips(simulator, held_out, steps, film_strip, scores=measured.closed_loop.gain_by_start, seed=seed)
    if plot is not None:
        long_loop = measured.long_loop
        write_loops(
            dataclasses.asdict(measured.closed_loop), None if long_loop is None else dataclasses.asdict(long_loop), plot
        )


def calibrate(
    checkpoint: CheckpointArgument,
    /,
    *,
    data: Path | None = None,
    recording: Path | None = None,
    episodes: int = 48,
    steps: int = 20,
    bound_db: float = 13.5,
    history: Literal["window", "streaming"] = "streaming",
    seed: int = 0,
    json: Path | None = None,
    plot: Path | None = None,
    device: str = "cpu",
) -> None:
    """Teaches a checkpoint the risk that a clip it predicts is wrong, and puts it into the checkpoint.

    Closed loops run in it and in the reference world (needs the reference extra), with recorded actions, with others
    and with actions beyond the training data. The risk is fitted on all episodes, and judged on each quarter of them as
    it is fitted on the others.

    Args:
        checkpoint: name or directory of the checkpoint.
        data: training split with tokens, to know what they look like; by default, a split of the reference world is
            recorded and tokenised to out/statistics first.
        recording: recording of the reference world to start from; by default, one is recorded to out/calibration first.
        episodes: of the recording, at least 8.
        steps: env steps of each loop.
        bound_db: a clip is wrong if its PSNR against the truth is below this; by default, what the last recorded frame
            scores in the reference world when it is held still for four steps.
        history: whether the past is encoded anew at each step, or each clip once, which is faster.
        seed: of the worlds and of their actions.
        json: file for the measurements.
        plot: PNG file for a picture of probabilities beside shares (needs the evaluation extra).
        device: where to run.
    """
    from hwm_env import checkpoint as checkpoints
    from hwm_env.data.reader import Dataset
    from hwm_env.evaluation.reports.reliability_plot import draw_reliability
    from hwm_env.evaluation.worlds import calibration
    from hwm_env.evaluation.worlds.held_out import record_held_out
    from hwm_env.evaluation.worlds.risk_loops import run_risk_loops
    from hwm_env.simulator import WorldSimulator
    from hwm_env.tokenizers.checks import check_tokenizer
    from hwm_env.trust import TokenStatistics, Trust
    from hwm_env.types import HISTORY_CLIPS

    simulator = WorldSimulator.from_pretrained(checkpoint, device=device, history=history)
    loaded, tokenizer = simulator.checkpoint, simulator.tokenizer
    if data is None:
        tokens = calibration.statistics_split(Path("out/statistics"), tokenizer, loaded.image_size)
    else:
        tokens = Dataset(data)
        check_tokenizer(tokenizer, tokens)
    if recording is None:
        recording = record_held_out(
            Path("out/calibration"), episodes, HISTORY_CLIPS + steps, loaded.image_size, split="calibration"
        )
    statistics = TokenStatistics.from_dataset(tokens, tokenizer.fsq_levels)
    loops = run_risk_loops(simulator, statistics, recording, num_episodes=episodes, num_steps=steps, seed=seed)
    risk, report = calibration.calibrate(loops, bound_psnr_db=bound_db, seed=seed)
    report["checkpoint"] = {"name": checkpoint.name, "identity": loaded.identity}
    report["decoding"] = dataclasses.asdict(simulator.decoding)
    report["token_statistics"] = tokens.metadata.extra.get("split")
    checkpoints.save(dataclasses.replace(loaded, trust=Trust(statistics, risk)), checkpoints.resolve(checkpoint))
    _report(report, json)
    if plot is not None:
        draw_reliability(report, plot)


def certify(
    checkpoint: CheckpointNameArgument = "room-64",
    /,
    *,
    tokenizer: str | None = None,
    recording: Path | None = None,
    starts: int = 100,
    steps: int = 20,
    seed: int = 0,
    json: Path | None = None,
    page: Path | None = None,
    device: str = "cpu",
) -> None:
    """Certifies that a world answers to its actions: against other actions, by what its clips show, and over time.

    Args:
        checkpoint: name or directory of the checkpoint.
        tokenizer: where its tokenizer is, for a checkpoint that does not hold its own.
        recording: recording with images to judge on; by default, a held-out split of the reference world is recorded
            to out/held-out first (needs the reference extra).
        starts: episodes; inverse dynamics are learned from three in five of them, the others are judged.
        steps: env steps of the closed loops.
        seed: of the worlds and of the shuffled actions.
        json: file for the certificate.
        page: HTML file for the certificate (needs the evaluation extra).
        device: where to run.
    """
    from hwm_env.evaluation.reports.certificate_page import write_certificate
    from hwm_env.evaluation.worlds.certificate import certify as certify_world
    from hwm_env.evaluation.worlds.held_out import HeldOut, record_held_out
    from hwm_env.simulator import WorldSimulator
    from hwm_env.types import HISTORY_CLIPS

    simulator = WorldSimulator.from_pretrained(checkpoint, device=device, tokenizer=tokenizer)
    clips = HISTORY_CLIPS + steps
    if recording is None:
        recording = record_held_out(Path("out/held-out"), starts, clips, simulator.checkpoint.image_size)
    held_out = HeldOut(recording, simulator.tokenizer, clips_per_episode=clips, num_episodes=starts)
    report = certify_world(simulator, held_out, closed_loop_steps=steps, seed=seed)
    report["stamp"] = {
        "checkpoint": checkpoint,
        "weights": simulator.identity,
        "tokenizer": simulator.tokenizer.identity,
        "decoding": dataclasses.asdict(simulator.decoding),
        "episodes": starts,
        "command": shlex.join(["hwm-env", *sys.argv[1:]]),
    }
    _report(report, json)
    if page is not None:
        write_certificate(report, page)


def evaluate(
    policies: PoliciesArgument,
    /,
    *,
    tasks: tuple[str, ...] = ("face-target", "drive-to-target"),
    out: Path = Path("out/evaluation"),
    checkpoint: str = "room-64",
    tokenizer: str | None = None,
    starts: int = 50,
    worlds: tuple[Literal["true", "learned"], ...] = ("true", "learned"),
    max_steps: int = 40,
    seed: int = 0,
    seen: bool = False,
    allow_zips: bool = True,
    true_results: Path | None = None,
    recording: Path | None = None,
    ray: str | None = None,
    workers: int = 2,
    json: Path | None = None,
    page: Path | None = None,
) -> None:
    """Evaluates policies in the learned world, and says how far to believe that: beside the reference world.

    Args:
        policies: functions that give policies for a task's name, as module:factory or module:factory@argument, and
            zips that Stable-Baselines3 saved. Both run code: a zip when it is loaded, whatever is in it.
        tasks: names of tasks.
        out: directory for the trials; the same command goes on with an interrupted evaluation.
        checkpoint: name or directory of the learned world.
        tokenizer: where its tokenizer is, for a checkpoint that does not hold its own.
        starts: paired episodes of each policy at each task.
        worlds: where they are played; "true" is the reference world.
        max_steps: env steps after which an episode is over.
        seed: of goals, noise and policies.
        seen: put the reference world, known by the checkpoint's read-out only, in the learned world's place: what then
            differs is the read-out's part of the error.
        allow_zips: load zips of Stable-Baselines3, which runs code that is in them; refuse those that you do not trust.
        true_results: JSON file with outcomes of the first starts in a world that cannot be played in here, such as a
            real one: {"task": {"policy": [true, false]}}. Success rates in the learned world are corrected by them.
        recording: data set with raw images of such a world; its actions are replayed in the learned world, for as many
            stretches as there are starts, and the pictures compared.
        ray: address of a Ray cluster to play in, or "local" (needs the scale extra); by default, this process plays.
        workers: how many processes Ray gives to it.
        json: file for the report.
        page: HTML file for the report, with plots and film strips (needs the evaluation extra).
    """
    from hwm_env.checkpoint import load
    from hwm_env.data.files import read_json
    from hwm_env.evaluation.policies.evaluation import EvaluationConfig, check_true_results
    from hwm_env.evaluation.policies.evaluation import evaluate as evaluate_policies

    config = EvaluationConfig(
        policies=policies,
        tasks=tasks,
        starts=starts,
        worlds=worlds,
        max_steps=max_steps,
        seed=seed,
        seen=seen,
        allow_zips=allow_zips,
        true_results={} if true_results is None else check_true_results(read_json(true_results), starts),
        recording=recording,
    )
    command = shlex.join(["hwm-env", *sys.argv[1:]])
    write_page = None
    if page is not None:
        from hwm_env.evaluation.reports import policy_page

        write_page = functools.partial(policy_page.write_page, file=page)
    # Policies of one's own are mostly in the directory that one works in.
    sys.path.insert(0, os.getcwd())
    play_units = None
    if ray is not None:
        from hwm_env.evaluation.policies.ray_workers import ray_workers

        play_units = ray_workers(ray, checkpoint, tokenizer, config, workers)
    loaded = load(checkpoint, tokenizer=tokenizer)
    _report(evaluate_policies(loaded, config, out, command=command, write_page=write_page, play_units=play_units), json)


def replay(
    file: ReplayArgument,
    /,
    *,
    checkpoint: str = "room-64",
    tokenizer: str | None = None,
    video: Path | None = None,
    json: Path | None = None,
    device: str = "cpu",
) -> None:
    """Lives a recorded episode again and checks that each clip is the same to the bit.

    Args:
        file: what the wrapper RecordReplay wrote.
        checkpoint: name or directory of the checkpoint that the episode was lived in.
        tokenizer: where the tokenizer is, for a checkpoint that does not hold its own.
        video: MP4 file for the episode (needs the data extra).
        json: file for what is printed.
        device: where to run; another kind of machine rounds differently.
    """
    import numpy as np

    from hwm_env.data.videos import write_video
    from hwm_env.replay import Replay

    loaded = Replay.load(file)
    simulator = loaded.make_simulator(checkpoint, device=device, tokenizer=tokenizer)
    steps = list(loaded.run(simulator))
    if video is not None and steps:
        write_video(video, np.concatenate([clip.frames[0].cpu().numpy() for clip, _ in steps]))
    differing = [index for index, (_, is_equal) in enumerate(steps) if not is_equal]
    _report({"steps": len(steps), "equal": not differing, "first_differing_step": differing[:1]}, json)
    if differing:
        raise InvalidInputError(
            f"{file} could not be lived again: the tokens of step {differing[0]} are others; it was recorded with "
            "another version of PyTorch, on another kind of machine, or in a batch of worlds that was not strict"
        )


def presets() -> None:
    """Lists the models that have a name: parameters, operations and memory, as a Markdown table (takes a minute)."""
    from hwm_env.model.cost import table
    from hwm_env.model.presets import MODEL_PRESETS

    print(table(MODEL_PRESETS))


def _report(content: dict[str, Any], file: Path | None) -> None:
    """Prints measurements, and writes them to a file if one is wanted."""
    print(json_module.dumps(content, indent=2))
    if file is not None:
        write_json(file, content)


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    """Looks at a command's device and at the files that it will write before hours of work, not after.

    Raises:
        InvalidInputError: the device is not here, or a file would replace an input, another one, or a file of another
            kind.
        SavingError: a file cannot be written.
    """
    if arguments.get("device", "auto") != "auto":
        check_device(arguments["device"])
    given = {name: value for name, value in arguments.items() if isinstance(value, Path)}
    for path in given.values():
        if "\0" in str(path):
            raise InvalidInputError(f"{shown(path)}: a name must not have a NUL byte")
    for name, suffix in OUTPUTS.items():
        if name not in given:
            continue
        file, option = given.pop(name), f"--{name.replace('_', '-')}"
        check_writable(file)
        same = [other for other, path in given.items() if same_place(path, file)]
        if same:
            raise InvalidInputError(f"{option} and {same[0]} are the same file {shown(file)}; give two")
        if os.path.isfile(file) and (file.suffix.lower() != suffix or file.name in PARTS):
            raise InvalidInputError(
                f"{option}: {shown(file)} is there already and no report; give a name that is new or ends in {suffix}"
            )


COMMANDS: dict[str, Callable[..., None]] = {
    "collect": collect,
    "train-tokenizer": train_tokenizer,
    "tokenize": tokenize,
    "inspect": inspect_data,
    "train": train,
    "train-readout": train_readout,
    "train-scene": train_scene,
    "import-checkpoint": import_checkpoint,
    "generate": generate,
    "fidelity": fidelity,
    "calibrate": calibrate,
    "certify": certify,
    "evaluate": evaluate,
    "replay": replay,
    "presets": presets,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        argv: the arguments after the program's name; by default those of the process.

    Returns:
        The exit code: 0 on success, 2 on bad input, 128 and the signal's number where one stopped a training. As usual,
        bad options and `--help` exit at once instead.
    """
    logging.basicConfig(format="%(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may hold bytes that are no text.
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.getLogger("hwm_env").setLevel(logging.INFO)
    try:
        chosen = _preset_of(sys.argv[1:] if argv is None else argv)
        commands = COMMANDS | {"train": _with_defaults(train, config=chosen.training, model=chosen.model)}
        run = tyro.extras.subcommand_cli_from_dict(
            {name: _deferred(command) for name, command in commands.items()},
            prog="hwm-env",
            description="A learned simulator of a humanoid robot, from recordings to evaluation.",
            args=argv,
        )
        run()
        with writing(Path("/dev/stdout")):
            sys.stdout.flush()
    except TrainingStopped as stopped:
        print(f"hwm-env: {stopped}", file=sys.stderr)
        return EXIT_BY_SIGNAL + stopped.signal
    except (HWMError, OSError) as error:
        print(f"hwm-env: {' '.join(str(error).split())}", file=sys.stderr)
        _drop_unwritten()
        return EXIT_BAD_INPUT
    return 0


def _drop_unwritten() -> None:
    """Forgets what cannot be printed: at the end of the process, Python would complain of it once more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _preset_of(argv: Sequence[str]) -> TrainingPreset:
    """The preset among the arguments: its values are the defaults of all other options, in the help too.

    Raises:
        InvalidInputError: there is no such preset.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", default=DEFAULT_PRESET)
    name = parser.parse_known_args(argv)[0].preset
    if name not in TRAINING_PRESETS:
        raise InvalidInputError(f"--preset must be one of {', '.join(TRAINING_PRESETS)}; got {name!r}")
    return TRAINING_PRESETS[name]


def _with_defaults(command: Callable[..., None], **defaults: object) -> Callable[..., None]:
    """The command with defaults for some of its options."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        command(*args, **kwargs)

    signature = inspect.signature(command)
    parameters = [
        parameter.replace(default=defaults.get(name, parameter.default))
        for name, parameter in signature.parameters.items()
    ]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command, to be run later: tyro takes a ValueError while it parses for a bad option and hides where it was."""

    @functools.wraps(command)
    def bind(*args: Any, **kwargs: Any) -> Callable[[], None]:
        def run() -> None:
            _check_arguments(inspect.signature(command).bind(*args, **kwargs).arguments)
            command(*args, **kwargs)

        return run

    return bind
