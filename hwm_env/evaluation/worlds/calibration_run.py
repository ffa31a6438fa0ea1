"""`hwm-env calibrate`: teaches a checkpoint how likely its clips are wrong."""

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from annotated_types import Ge

from hwm_env.arguments import CheckpointArgument
from hwm_env.checkpoint import resolve, save
from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.decoding.config import HistoryMode
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.reports.reliability_plot import draw_reliability
from hwm_env.evaluation.worlds.calibration import calibrate, statistics_split
from hwm_env.evaluation.worlds.held_out import check_reference, record_held_out
from hwm_env.evaluation.worlds.risk_loops import RiskLoops, run_risk_loops
from hwm_env.fields import CheckedFields, Count, Seed
from hwm_env.reporting import PYTHON, Caller, Stamp, publish
from hwm_env.simulator import WorldSimulator
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.trust import Calibration, TokenStatistics, Trust
from hwm_env.types import HISTORY_CLIPS

BOUND_PSNR_DB: Final = 13.5
"""The usual bound of wrong clips, see `CalibrationConfig.bound_db`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationConfig(CheckedFields):
    """What is calibrated, on which episodes, and which files are written."""

    checkpoint: CheckpointArgument
    """Name or directory of the checkpoint, which receives the calibration."""
    data: Path | None = None
    """Training split with tokens, to know what they look like; by default, a split of the reference world is recorded
    and tokenised to out/statistics first."""
    recording: Path | None = None
    """Recording of the reference world to start from; by default, one is recorded to out/calibration first."""
    episodes: Annotated[Count, Ge(8)] = 48
    """Episodes of the recording, at least 8."""
    steps: Count = 20
    """Env steps of each loop."""
    bound_db: float | None = None
    """A clip is wrong if its PSNR against the truth is below this. By default 13.5, the score of the last recorded
    frame in the reference world when it is held still for four steps; if all clips are below it, or none, the median of
    their PSNR."""
    history: HistoryMode = "streaming"
    """Whether all clips of the history are encoded at each step (window), or each clip once (streaming), which is
    faster."""
    painted_offset: bool = False
    """Also learn from the distance between painted and carried pose, which is then computed after every env step and
    takes half as long as one (worlds with a scene)."""
    seed: Seed = 0
    """Seed of the worlds and of their actions."""
    json: Path | None = None
    """JSON file for the measurements."""
    plot: Path | None = None
    """PNG file for a picture of probabilities beside shares (needs the evaluation extra)."""
    device: str = "auto"
    """Device that predicts: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""


def calibrate_checkpoint(config: CalibrationConfig, caller: Caller = PYTHON) -> dict[str, Any]:
    """Teaches a checkpoint the risk that a predicted clip is wrong, and puts it into the checkpoint.

    Closed loops run in it and in the reference world (needs the reference extra), with recorded actions, with others
    and with actions beyond the training data. The risk is fitted on all episodes. It is judged on each quarter of them
    after a fit on the others.

    Returns:
        The report, as `calibrate` describes it, with `checkpoint`, `decoding`, `token_statistics` and `stamp`.

    Raises:
        CheckpointError: there is no such checkpoint, it is of another robot than EVE, or another tokenizer made the
            tokens.
        DatasetError: a data set cannot be read, or has no tokens or true poses.
        InvalidInputError: all clips are wrong, or none is, by the bound that is given.
        SavingError: a file cannot be written.
    """
    simulator = WorldSimulator.from_pretrained(config.checkpoint, device=config.device, history=config.history)
    checkpoint, tokenizer = simulator.checkpoint, simulator.tokenizer
    check_reference(checkpoint.robot)
    if config.data is None:
        tokens = statistics_split(Path("out/statistics"), tokenizer, checkpoint.image_size)
    else:
        tokens = Dataset(config.data)
        check_tokenizer(tokenizer, tokens)
        check_robot(checkpoint.robot, tokens)
    recording = config.recording or record_held_out(
        Path("out/calibration"),
        config.episodes,
        HISTORY_CLIPS + config.steps,
        checkpoint.image_size,
        split="calibration",
    )
    statistics = TokenStatistics.from_dataset(tokens, tokenizer.fsq_levels)
    loops = run_risk_loops(
        simulator,
        statistics,
        recording,
        num_episodes=config.episodes,
        num_steps=config.steps,
        seed=config.seed,
        with_painted_offset=config.painted_offset,
    )
    risk, report = _calibrated(loops, config)
    stamp = Stamp.of(simulator, name=config.checkpoint, episodes=config.episodes, caller=caller)
    report["checkpoint"] = {"name": config.checkpoint.name, "identity": stamp.weights}
    report["decoding"] = dict(stamp.decoding)
    report["token_statistics"] = tokens.metadata.extra.get("split")
    report["stamp"] = asdict(stamp)
    save(replace(checkpoint, trust=Trust(statistics, risk)), resolve(config.checkpoint))
    publish(report, config.json, caller)
    if config.plot is not None:
        draw_reliability(report, config.plot)
    return report


def _calibrated(loops: RiskLoops, config: CalibrationConfig) -> tuple[Calibration, dict[str, Any]]:
    """Calibrates with the bound of the config, or with one that some clips are below and others are not."""
    if config.bound_db is not None:
        return calibrate(loops, bound_psnr_db=config.bound_db, seed=config.seed)
    try:
        return calibrate(loops, bound_psnr_db=BOUND_PSNR_DB, seed=config.seed)
    except InvalidInputError:
        median = float(np.median(loops.psnr_db))
        logger.warning(
            "nearly all clips are on one side of %g dB; clips below their median, %.1f dB, count as wrong instead",
            BOUND_PSNR_DB,
            median,
        )
        return calibrate(loops, bound_psnr_db=median, seed=config.seed)
