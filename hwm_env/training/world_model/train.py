"""Trains a `MaskedHWM` on a tokenised data set; can be stopped at any time and resumes to the bit."""

import itertools
import logging
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hwm_env.checkpoint import Checkpoint
from hwm_env.data.files import read_json, write_json
from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.data.samples import ClipSamples
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.windows import evenly_spread
from hwm_env.devices import check_device
from hwm_env.draws import seeds_of, uniform
from hwm_env.errors import DatasetError, DivergedError, InvalidInputError, require_extra
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.scene.scene import Scene
from hwm_env.starts import Starts
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.training.assemble import NUM_STARTS
from hwm_env.training.runs.matrix_rate import matrix_rate
from hwm_env.training.runs.monitor import TensorBoard
from hwm_env.training.runs.pace import Pace
from hwm_env.training.runs.reporter import Reporter
from hwm_env.training.runs.run import Run
from hwm_env.training.runs.stopping import StopRequest, TrainingStopped
from hwm_env.training.world_model.estimate import TrainingCost, training_cost
from hwm_env.training.world_model.loader import MicroBatches, load
from hwm_env.training.world_model.objective import SampleBatch, Targets, arrange, draw_targets
from hwm_env.training.world_model.recipe import TrainingConfig
from hwm_env.training.world_model.scene_inputs import scene_inputs
from hwm_env.training.world_model.speed import Speed
from hwm_env.training.world_model.trainee import Trainee, new_model
from hwm_env.training.world_model.validation import Validation

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

STATISTICS_FILE = "action_statistics.json"
STEPS_A_READING = 20
"""On a GPU, the numbers of every so many steps are read, since it must not wait for that."""
_OWN_SAMPLES = 32
"""Number of a batch's draw (`hwm_env.draws`), apart from those of its samples."""


def train_world_model(
    data: Dataset,
    validation: Dataset,
    tokenizer: VideoTokenizer,
    directory: Path,
    model_config: MaskedHWMConfig,
    config: TrainingConfig,
    *,
    resume: bool = False,
    initial: MaskedHWM | None = None,
    scene: Scene | None = None,
    max_samples: int | None = None,
    keep: int = 2,
    workers: int = 0,
    device: str = "auto",
    compiled: bool = False,
    provenance: Mapping[str, object] | None = None,
) -> Path:
    """Trains a world model; with several processes, each of them calls it (`accelerate launch`).

    It logs the loss, and the loss of the next clip with true and with shuffled actions: while these two are equal, the
    model ignores actions.

    Args:
        data: the tokenised training split, from which the action statistics are computed.
        validation: another split of the same tokenizer, from which the starts are taken.
        tokenizer: tokenizer of both splits, for previews and for the checkpoints.
        directory: directory of the run, see `Run`, with curves and sample videos in `tensorboard/`. HWM-v0 can load
            each of its checkpoints.
        model_config: shape of the model.
        config: the recipe.
        resume: continue the run in `directory`.
        initial: model whose weights to start from, as far as it has them (see `new_model`); `None` means random
            weights.
        scene: trained scene of the room whose inputs the model learns to read. The checkpoints contain it, and decoding
            does not mix its predictions in. It needs data with poses.
        max_samples: maximum number of samples to train on; `None` for all.
        keep: number of the newest checkpoints to keep; the best one is kept too.
        workers: number of threads that read ahead.
        device: device to train on; "auto" means a GPU if there is one. Several processes choose their own GPUs.
        compiled: whether to compile the model's blocks, which takes a minute or two; steps are faster on a GPU.
        provenance: origin of the checkpoints, stored with the recipe.

    Returns:
        The directory of the last checkpoint, which has the averaged weights.

    Raises:
        InvalidInputError: `directory` already contains a run or other files, the run was started with another
            configuration, or the model does not fit the recipe, `initial` or `scene`.
        DatasetError: the data do not fit the model, are of different robots or cannot be read, or there is a scene and
            they have no poses.
        CheckpointError: the data were tokenised by another tokenizer.
        DivergedError: the loss became NaN or infinite.
        SavingError: a checkpoint could not be written.
        TrainingStopped: SIGTERM or SIGINT was received; the state is saved.
    """
    config.check_model(model_config)
    check_tokenizer(tokenizer, data, validation)
    check_robot(data.metadata.robot, validation)
    check_grid(model_config, data, validation)
    check_scene(model_config, scene)
    accelerator = _accelerator(device)
    config = config.resolved(accelerator.device, log=accelerator.is_main_process)
    tokenizer = tokenizer.to(accelerator.device)
    if scene is not None:
        scene = Scene(scene.model, scene.odometry, replace(scene.use, history_weights=(1.0,)))
        scene.to(accelerator.device).eval()
    clips, with_poses = config.sample_clips(model_config), scene is not None
    samples = ClipSamples(data, *clips, with_poses=with_poses)
    candidates = evenly_spread(len(samples), max_samples)
    run = Run(directory, resume=resume, keep=keep, writes=accelerator.is_main_process)
    cost = training_cost(model_config, config, accelerator.device.type)
    if accelerator.is_main_process:
        _announce(cost, config, samples, len(candidates))
    statistics = _statistics(data, directory, accelerator, is_new=run.is_new)
    trainee = Trainee.prepare(new_model(model_config, statistics, config.seed, initial), config, accelerator)
    averaged = new_model(model_config, statistics, config.seed).to(accelerator.device).eval()
    starts = Starts.from_dataset(validation, max(1, clips[0]), NUM_STARTS, seed=0)
    origin = {**(provenance or {}), "training": asdict(config)}
    checkpoint = Checkpoint(
        averaged, tokenizer, statistics, starts, scene=scene, robot=data.metadata.robot, provenance=origin
    )
    whole_config = {
        "model": asdict(model_config),
        "training": asdict(config),
        "data": {"samples": len(candidates), "frames": data.num_frames, "tokenizer": tokenizer.token_identity},
        **({} if scene is None else {"scene": scene.identity}),
    }
    broadcast = require_extra("accelerate.utils", "train").broadcast_object_list
    pace = Pace(config, lambda seconds: broadcast([seconds])[0])
    parts = {**trainee.parts(), **({} if config.minutes is None else {"pace": pace})}
    first_step = run.restore(whole_config, **parts)
    plan = MicroBatches(
        candidates,
        config,
        first_step=first_step,
        process=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    if accelerator.is_main_process:
        judged = ClipSamples(validation, *clips, with_poses=with_poses)
        held_out = Validation(judged, config, tokenizer, accelerator.device, scene)
        curves = TensorBoard(directory / "tensorboard", first_step)
        report = Reporter(run, whole_config, parts, checkpoint, held_out, curves)
    else:
        report = Reporter(run, whole_config, parts, checkpoint, None, None)
    _take_steps(trainee, pace, report, samples, plan, workers, scene, step_flops=cost.step_flops, compiled=compiled)
    accelerator.wait_for_everyone()
    return run.newest


def check_grid(model_config: MaskedHWMConfig, *datasets: Dataset) -> None:
    """Raises `DatasetError` if a data set has another token grid than the model."""
    for dataset in datasets:
        if dataset.metadata.token_grid != model_config.grid_size:
            raise DatasetError(
                f"{dataset.directory} has tokens on a grid of {dataset.metadata.token_grid}, the model is built for "
                f"{model_config.grid_size}; give the model this grid_size, or tokenise images of another size"
            )


def check_scene(model_config: MaskedHWMConfig, scene: Scene | None) -> None:
    """Raises `InvalidInputError` if a model reads another number of inputs than the scene has."""
    width = 0 if scene is None else scene.input_width
    if model_config.scene_width != width:
        raise InvalidInputError(
            f"the model has scene_width {model_config.scene_width}, expected {width}, the number of inputs of "
            f"{'no' if scene is None else 'the'} scene for each grid position; give the model this scene_width, or "
            "another scene"
        )


def _accelerator(device: str) -> "Accelerator":
    """Returns an accelerator on a device.

    Raises:
        InvalidInputError: there is no such device.
    """
    found = check_device(device)
    if found.type == "cuda" and found.index is not None:
        torch.cuda.set_device(found)
    accelerator: Accelerator = require_extra("accelerate", "train").Accelerator(cpu=found.type == "cpu")
    return accelerator


def _take_steps(
    trainee: Trainee,
    pace: Pace,
    report: Reporter,
    samples: ClipSamples,
    plan: MicroBatches,
    workers: int,
    scene: Scene | None,
    *,
    step_flops: int,
    compiled: bool,
) -> None:
    """Takes all remaining steps."""
    config, accelerator = trainee.config, trainee.accelerator
    if pace.is_over(plan.first_step):
        return
    batches = load(samples, plan, workers=workers, device=accelerator.device)
    first = next(batches)
    _rehearse(trainee, _targets(trainee, plan, plan.first_step, 0.0, 0, first, scene), plan, compiled=compiled)
    batches = itertools.chain([first], batches)
    speed = Speed(config.batch_size, step_flops, matrix_rate(accelerator.device, config.precision))
    read_every = 1 if trainee.waits else STEPS_A_READING
    steps_done, reported = plan.first_step, plan.first_step
    numbers: dict[str, float] = {}
    started_s = time.monotonic()
    with StopRequest() as request:
        for step in pace.steps(plan.first_step, "train", silent=not accelerator.is_main_process):
            targets = [
                _targets(trainee, plan, step, pace.position, index, next(batches), scene)
                for index in range(plan.per_step)
            ]
            try:
                result = trainee.step(pace.position, targets, stop=request.signal is not None)
                steps_done = step + 1
                is_last = config.minutes is None and steps_done == config.steps
                is_due = is_last or steps_done % config.report_every == 0
                is_read = is_due or result.stop or steps_done % read_every == 0
                if is_read:
                    numbers = result.numbers()
            except DivergedError as error:
                raise DivergedError(f"{error} at step {step}, {_origin(samples, plan, step)}") from error
            if is_read:
                pace.show(loss=numbers["loss"])
                numbers["learning_rate"] = config.learning_rate * config.share_at(pace.position)
                numbers |= speed.numbers(steps_done - plan.first_step, time.monotonic() - started_s)
                report.step(steps_done, numbers)
            if is_due:
                report.full(steps_done, numbers, trainee)
                reported = steps_done
            elif result.stop:
                report.save(steps_done, trainee)
            if result.stop and not is_last:
                raise TrainingStopped(request.signal or signal.SIGTERM, steps_done)
    if reported < steps_done:
        report.full(steps_done, {**numbers, **result.numbers()}, trainee)


def _targets(
    trainee: Trainee,
    plan: MicroBatches,
    step: int,
    position: float,
    index: int,
    batch: SampleBatch,
    scene: Scene | None,
) -> Targets:
    """Returns the targets of a micro-batch."""
    config, rows = trainee.config, plan.rows(index)
    # The seeds of step 0 are the validation's.
    seeds_B = seeds_of(config.seed, step + 1, rows, trainee.accelerator.device)
    inputs = None
    if scene is not None:
        with torch.autocast(seeds_B.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            inputs = scene_inputs(scene, batch, seeds_B, config.pose_noise, unknown_share=config.unknown_place_share)
    num_own = None
    if config.own_predictions:
        # The order of samples is random, so that the first ones of a batch are as good as any.
        expected = config.own_predictions * position / config.steps * config.batch_size
        in_batch = int(expected + uniform(seeds_of(config.seed, step + 1, range(1)), _OWN_SAMPLES).item())
        num_own = min(max(in_batch - rows.start, 0), len(rows))
    return draw_targets(
        arrange(trainee.model, batch, parallel_targets=config.parallel_targets, scene_BTSC=inputs),
        seeds_B,
        trainee.model.config.codebook_size,
        config.max_corruption,
        num_own,
        0.0 if scene is None else config.scene_corruption_share,
    )


def _announce(cost: TrainingCost, config: TrainingConfig, samples: ClipSamples, num_candidates: int) -> None:
    """Logs the size of the model, the samples, and the memory that the training needs."""
    logger.info("%.1f M parameters; %d of %d samples", cost.parameters / 1e6, num_candidates, len(samples))
    logger.info("%.3g TFLOP a step", cost.step_flops / 1e12)
    dropped = samples.windows.dropped
    logger.info(
        "clips in no sample: %d cross a segment, %d are not whole, %d are in too short a run",
        dropped.crossing,
        dropped.partial,
        dropped.too_short,
    )
    if config.minutes is None:
        epochs = config.steps * config.batch_size / num_candidates
        logger.info("%d steps of %d samples: %.1f epochs", config.steps, config.batch_size, epochs)
    else:
        logger.info("%g minutes, in steps of %d samples", config.minutes, config.batch_size)
    parts = (cost.memory_bytes, cost.weight_bytes, cost.optimizer_bytes, cost.activation_bytes)
    logger.info(
        "memory: about %.2f GB (weights and gradients %.2f, optimizer %.2f, kept activations %.2f)",
        *(part / 1e9 for part in parts),
    )


def _rehearse(trainee: Trainee, first: Targets, plan: MicroBatches, *, compiled: bool) -> None:
    """Compiles the blocks if requested, and logs how long a step takes, measured on the first micro-batch."""
    if compiled:
        seconds = trainee.compile_blocks(first)
        logger.info("compiled the blocks in %.0f s", seconds)
    seconds = trainee.rehearse(first) * plan.per_step
    if trainee.accelerator.is_main_process:
        logger.info("time: about %.3f s a step", seconds)
        if trainee.config.minutes is None:
            left = seconds * (trainee.config.steps - plan.first_step)
            logger.info("about %.1f hours remaining, without validation", left / 3600)


def _statistics(data: Dataset, directory: Path, accelerator: "Accelerator", *, is_new: bool) -> ActionStatistics:
    """Returns the statistics of the training split's actions, computed when the run begins and stored in it."""
    path = directory / STATISTICS_FILE
    if accelerator.is_main_process and (is_new or not path.exists()):
        write_json(path, ActionStatistics.from_dataset(data).to_dict())
    accelerator.wait_for_everyone()
    return ActionStatistics.from_dict(read_json(path))


def _origin(samples: ClipSamples, plan: MicroBatches, step: int) -> str:
    """Describes the samples of this process in a step, for an error message."""
    places = [samples.windows.locate(int(index)) for batch in plan.of_step(step) for index in batch]
    names = [f"shard {samples.dataset.shards[shard].index} clip {clip}" for shard, clip in places]
    return f"in a batch with {', '.join(names)}"
