"""Measures what the error of each part of a closed loop costs, by swapping one part at a time for the truth.

python -m docs.studies.parts --json docs/results/parts.json
"""

import logging
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from docs.studies.finished_parts import FinishedParts
from docs.studies.loop_scores import held_out_episodes, score_loops, tokenizer_ceiling
from docs.studies.ratios import ratio_estimate
from docs.studies.stamps import stamp_of
from docs.studies.swapped_loops import Swap, run_swapped
from docs.studies.tables import markdown
from docs.studies.world_tables import costs, swaps
from hwm_env.arguments import parse_config
from hwm_env.checkpoint import Checkpoint, load
from hwm_env.data.files import write_json
from hwm_env.errors import CheckpointError, exit_with_one_line
from hwm_env.evaluation.bootstrap import mean_estimate
from hwm_env.fields import CheckedFields, Count
from hwm_env.types import Float64Array

SWAPS: Final = {
    "nothing": Swap(),
    "start pose": Swap(start=True),
    "all poses": Swap(start=True, poses=True),
    "past tokens": Swap(tokens=True),
    "past tokens, with the first weight": Swap(tokens=True, weight="first"),
    "all poses and past tokens, with the first weight": Swap(start=True, poses=True, tokens=True, weight="first"),
    "nothing, the scene alone": Swap(weight="none"),
}
"""By what is swapped for the truth. The masked model's weight falls with the number of predicted clips, since it is
accurate after true ones; so true ones can be given the weight of the first step."""
TOKENIZER: Final = "all tokens"
"""True clips, encoded and decoded."""
COSTS: Final = {
    "localiser": ("nothing", "start pose"),
    "odometry": ("start pose", "all poses"),
    "accumulated tokens": ("nothing", "past tokens, with the first weight"),
    "prediction of one clip": ("all poses and past tokens, with the first weight", TOKENIZER),
    "all but the tokenizer": ("nothing", TOKENIZER),
    "leaving out the masked model": ("nothing, the scene alone", "nothing"),
}
"""By part, what the PSNR is with its error and without it."""
SHOWN: Final = (1, 5, 10, 20)
"""Env steps that are reported."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study(CheckedFields):
    """Measures what the localiser, odometry, accumulated tokens and the tokenizer cost in closed loops."""

    out: Path = Path("out/parts")
    """Directory for held-out episodes and finished parts, which are not repeated."""
    json: Path | None = None
    """JSON file for the report."""
    checkpoint: str = "room-64"
    """The learned world; it needs a scene."""
    episodes: Count = 24
    """Held-out episodes, each the beginning of a closed loop."""
    steps: Count = 20
    """Env steps of each loop."""


def run(study: Study) -> dict[str, Any]:
    """Runs the loops that have not been run yet, and reports.

    Returns:
        Ready for JSON. `psnr_db`: by what is swapped, the PSNR against the recorded images by env step, and its `mean`
        over all env steps. `costs_db`: by part, what its error costs (see COSTS), likewise, with intervals over the
        episodes. `tokenizer_share`: the tokenizer's share of the squared error of the whole loop, 0..1, likewise.

    Raises:
        CheckpointError: the checkpoint has no scene, or another robot than the reference world.
    """
    checkpoint = load(study.checkpoint)
    if checkpoint.scene is None:
        raise CheckpointError("the checkpoint has no scene; add one with: hwm-env train-scene CHECKPOINT DATA")
    scores = _scores(study, checkpoint)
    whole, tokenizer = scores["nothing"], scores[TOKENIZER]
    return {
        "psnr_db": {name: _by_step(of_swap) for name, of_swap in scores.items()},
        "costs_db": {
            part: {
                step: asdict(mean_estimate(lost))
                for step, lost in _of_episodes(scores[without] - scores[with_error]).items()
            }
            for part, (with_error, without) in COSTS.items()
        },
        "tokenizer_share": {
            step: ratio_estimate(part, _of_episodes(_squared_error(whole))[step])
            for step, part in _of_episodes(_squared_error(tokenizer)).items()
        },
    }


def _scores(study: Study, checkpoint: Checkpoint) -> dict[str, Float64Array]:
    """Returns the PSNR of each loop after each env step in dB, [E, steps], by what is swapped."""
    stamp = {
        **stamp_of(checkpoint),
        "decoding": asdict(checkpoint.decoding),
        "episodes": study.episodes,
        "steps": study.steps,
    }
    parts = FinishedParts(study.out, stamp)
    held_out = held_out_episodes(checkpoint, study.out, study.episodes, study.steps)
    steps = range(1, study.steps + 1)
    scores = {}
    for name, swap in SWAPS.items():
        logger.info("true: %s", name)

        def measured(swap: Swap = swap) -> list[list[float]]:
            predicted = run_swapped(checkpoint, held_out, swap, study.steps)
            found: list[list[float]] = score_loops(checkpoint.tokenizer, held_out, predicted, steps).tolist()
            return found

        scores[name] = np.array(parts.get(name.replace(", ", "-").replace(" ", "-"), measured), np.float64)
    scores[TOKENIZER] = tokenizer_ceiling(held_out, checkpoint.tokenizer, steps)
    return scores


def _of_episodes(values: Float64Array) -> dict[str, Float64Array]:
    """Returns the values [E, steps] of the env steps that are shown, and their mean over all env steps, each [E]."""
    shown = {str(step): values[:, step - 1] for step in SHOWN if step <= values.shape[1]}
    return shown | {"mean": values.mean(axis=1)}


def _by_step(values: Float64Array) -> dict[str, float]:
    return {step: float(of_episodes.mean()) for step, of_episodes in _of_episodes(values).items()}


def _squared_error(psnr_db: Float64Array) -> Float64Array:
    """Returns the mean squared error of pixels in 0..1."""
    error: Float64Array = 10 ** (-psnr_db / 10)
    return error


def _command() -> str:
    return shlex.join(["python", "-m", "docs.studies.parts", *sys.argv[1:]])


def main(study: Study) -> None:
    """Runs the study, and writes its report."""
    report = run(study)
    logger.info("%s\n\n%s", markdown(swaps(report)), markdown(costs(report)))
    if study.json is not None:
        about = {"stamp": stamp_of(load(study.checkpoint)), "episodes": study.episodes, "steps": study.steps}
        write_json(study.json, {"command": _command(), **about, **report})


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with exit_with_one_line():
        main(parse_config(Study, program="python -m docs.studies.parts"))
