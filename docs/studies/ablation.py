"""Measures the effect of each option: variants of the world model room-64, trained equally long on equal data.

    python -m docs.studies.ablation out/room-64 --minutes 10 --json docs/results/ablation.json [VARIANT ...]

Each variant leaves its outcome in its own directory and is not repeated. Variants may run side by side.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from tyro.conf import Positional

from hwm_env import checkpoint as checkpoints
from hwm_env.arguments import parse_config
from hwm_env.data.files import read_json, write_json
from hwm_env.data.reader import Dataset
from hwm_env.data.samples import ClipSamples
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.windows import evenly_spread
from hwm_env.draws import seeds_of
from hwm_env.errors import exit_with_one_line, require_extra
from hwm_env.evaluation.worlds.fidelity import measure
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.fields import CheckedFields, NotNegative
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.presets import ROOM_64
from hwm_env.simulator import WorldSimulator
from hwm_env.training.world_model.loader import MicroBatches, load
from hwm_env.training.world_model.objective import arrange, draw_targets
from hwm_env.training.world_model.recipe import TWO_CORES, TrainingConfig
from hwm_env.training.world_model.train import train_world_model
from hwm_env.training.world_model.trainee import Trainee, new_model
from hwm_env.types import HISTORY_CLIPS

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

RECIPE: Final = replace(TWO_CORES, batch_size=4, micro_batch_size=4, own_predictions=0.0)
"""Smaller batches than for room-64, which learn more in so little time (docs/experiments.md)."""
VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "as it ships": {},
    "temporal_scope pooled": {"temporal_scope": "pooled"},
    "latent_layout sequential": {"latent_layout": "sequential"},
    "action_injection attention": {"action_injection": "attention"},
    "action_pooling mean": {"action_pooling": "mean"},
    "codebook_head joint": {"codebook_head": "joint"},
    "token_embedding table": {"token_embedding": "table"},
    "without spatial_lookback": {"spatial_lookback": False},
    "one target a sample": {"parallel_targets": False},
}
"""By name, the fields that differ from the model of room-64 and from RECIPE."""
EPISODES: Final = 30
"""Number of episodes of the validation split on which variants are judged."""
CLOSED_LOOP_STEPS: Final = 10
TIMED_STEPS: Final = 3
OUTCOME_FILE: Final = "outcome.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantResult:
    """Outcome of a variant: losses of the next validation clip in nats a token, PSNR in dB."""

    parameters: int
    seconds_per_step: float
    steps: int
    targets: int
    """Number of predicted clips during training, repetitions included."""
    loss: float
    loss_shuffled_actions: float
    moving_psnr: float
    """PSNR of the next clip in moving windows."""
    moving_psnr_shuffled_actions: float
    closed_loop_psnr: list[float]
    """PSNR with recorded actions, an entry an env step."""


def try_variant(name: str, data: Path, directory: Path, minutes: float) -> VariantResult:
    """Trains a variant for about `minutes`, estimated from its first steps, and judges it.

    Args:
        name: one of VARIANTS.
        data: directory that `make room-64` wrote: `train`, `validation`, `validation-raw`, `tokenizer`.
        directory: directory of the run.
        minutes: training time, without validation.
    """
    model, recipe = changed(VARIANTS[name])
    train = Dataset(data / "train")
    tokenizer = checkpoints.load_tokenizer(data / "tokenizer")
    parameters, seconds = _size_and_speed(model, recipe, train)
    steps = max(1, round(60 * minutes / seconds))
    recipe = replace(recipe, steps=steps, report_every=steps)
    newest = train_world_model(train, Dataset(data / "validation"), tokenizer, directory, model, recipe, device="cpu")
    losses = json.loads((directory / "log.jsonl").read_text().splitlines()[-1])
    held_out = HeldOut(
        data / "validation-raw",
        tokenizer,
        clips_per_episode=HISTORY_CLIPS + CLOSED_LOOP_STEPS,
        num_episodes=EPISODES,
    )
    report = measure(WorldSimulator(checkpoints.load(newest)), held_out, closed_loop_steps=CLOSED_LOOP_STEPS)
    judged = report.moving or report.next_clip
    return VariantResult(
        parameters=parameters,
        seconds_per_step=seconds,
        steps=steps,
        targets=steps * recipe.batch_size * (model.num_past_clips if recipe.parallel_targets else 1),
        loss=losses["validation_next_clip_loss"],
        loss_shuffled_actions=losses["validation_next_clip_loss_shuffled_actions"],
        moving_psnr=judged.psnr_true_actions,
        moving_psnr_shuffled_actions=judged.psnr_shuffled_actions,
        closed_loop_psnr=report.closed_loop.psnr,
    )


def changed(differences: Mapping[str, Any]) -> tuple[MaskedHWMConfig, TrainingConfig]:
    """Returns the model of room-64 and RECIPE, with some fields changed."""
    fields = MaskedHWMConfig.__dataclass_fields__
    of_model = {name: value for name, value in differences.items() if name in fields}
    of_recipe = {name: value for name, value in differences.items() if name not in fields}
    return replace(ROOM_64, **of_model), replace(RECIPE, **of_recipe)


def table(outcomes: Mapping[str, VariantResult]) -> str:
    """Returns the outcomes as a Markdown table."""
    lines = [
        "| variant | parameters | s a step | steps | targets | loss | shuffled | next clip, dB | shuffled | loop: 1 "
        f"| {CLOSED_LOOP_STEPS} |",
        "|" + " --- |" * 11,
    ]
    for name, one in outcomes.items():
        cells = (
            f"{one.parameters / 1e6:.2f} M",
            f"{one.seconds_per_step:.2f}",
            f"{one.steps:,}",
            f"{one.targets:,}",
            f"{one.loss:.2f}",
            f"{one.loss_shuffled_actions:.2f}",
            f"{one.moving_psnr:.1f}",
            f"{one.moving_psnr_shuffled_actions:.1f}",
            f"{one.closed_loop_psnr[0]:.1f}",
            f"{one.closed_loop_psnr[-1]:.1f}",
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _size_and_speed(model_config: MaskedHWMConfig, recipe: TrainingConfig, data: Dataset) -> tuple[int, float]:
    """Returns the number of parameters, and the seconds that a step takes after a warm-up."""
    accelerator: Accelerator = require_extra("accelerate", "train").Accelerator(cpu=True)
    trainee = Trainee.prepare(new_model(model_config, ActionStatistics.from_dataset(data), 0), recipe, accelerator)
    samples = ClipSamples(data, *recipe.sample_clips(model_config))
    plan = MicroBatches(evenly_spread(len(samples), None), recipe)
    batches = load(samples, plan, workers=0, device=accelerator.device)
    durations_s = []
    for step in range(1 + TIMED_STEPS):
        targets = draw_targets(
            arrange(trainee.model, next(batches), parallel_targets=recipe.parallel_targets),
            seeds_of(0, step, range(recipe.batch_size)),
            model_config.codebook_size,
            recipe.max_corruption,
        )
        started_s = time.monotonic()
        trainee.step(step, [targets], stop=False)
        durations_s.append(time.monotonic() - started_s)
    parameters = sum(parameter.numel() for parameter in trainee.model.parameters())
    return parameters, sum(durations_s[1:]) / TIMED_STEPS


@dataclass(frozen=True, kw_only=True, slots=True)
class AblationConfig(CheckedFields):
    """Trains variants of the world model room-64 for equal time."""

    data: Positional[Path]
    """Recordings, tokens and the tokenizer, as `make room-64` left them."""
    variants: Positional[tuple[Literal[*VARIANTS], ...]] = ()  # type: ignore[valid-type]
    """Names of variants; by default all."""
    minutes: NotNegative = 10.0
    """Training time of each."""
    json: Path | None = None
    """JSON file for the outcomes."""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs variants from the command line, and gathers all outcomes so far."""
    config = parse_config(AblationConfig, argv, program="python -m docs.studies.ablation")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # One thread each, so that two variants side by side are as fast as each alone.
    torch.set_num_threads(1)
    root = config.data / "ablation"
    for name in config.variants or VARIANTS:
        directory = root / name.replace(" ", "-")
        if not (directory / OUTCOME_FILE).exists():
            outcome = try_variant(name, config.data, directory, config.minutes)
            write_json(directory / OUTCOME_FILE, asdict(outcome))
    files = {name: root / name.replace(" ", "-") / OUTCOME_FILE for name in VARIANTS}
    outcomes = {name: VariantResult(**read_json(file)) for name, file in files.items() if file.exists()}
    if config.json is not None:
        content = {name: asdict(outcome) for name, outcome in outcomes.items()}
        write_json(config.json, {"minutes": config.minutes, "variants": content})
    logger.info("%s", table(outcomes))


if __name__ == "__main__":
    with exit_with_one_line():
        main()
