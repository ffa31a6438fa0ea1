"""`hwm-env import-checkpoint`: turns a foreign checkpoint into ours, with stand-ins for missing parts."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hwm_env.arguments import ForeignArgument, OptionalOutArgument
from hwm_env.checkpoint import Checkpoint, load_tokenizer, save
from hwm_env.data.files import check_writable, read_json, same_place, shown
from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.convert import load_foreign_checkpoint
from hwm_env.reference import robot
from hwm_env.reporting import PYTHON, Caller, play_hint
from hwm_env.robot import EVE
from hwm_env.starts import Starts
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.tokenizers.tiny import TinyTokenizer, TinyTokenizerConfig
from hwm_env.training.assemble import NUM_STARTS
from hwm_env.types import ACTION_DIM, FRAME_RATE_HZ, FRAMES_PER_CLIP, LATENTS_PER_CLIP

NUM_RANDOM_STARTS = 8
MOST_LEVELS = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportConfig(CheckedFields):
    """What is imported, and what stands in for the parts that a foreign checkpoint lacks."""

    directory: ForeignArgument
    """Directory with pytorch_model.bin (or model.safetensors) and, if there is one, config.json."""
    out: OptionalOutArgument = None
    """Directory for the checkpoint, new or empty, or with an earlier import of DIR; by default out/imported/ and the
    name of DIR."""
    tokenizer: str | None = None
    """Directory, file or checkpoint of the tokenizer; by default an untrained one stands in, whose frames mean
    nothing."""
    data: Path | None = None
    """Data set with tokens for the starts and the bounds of actions; by default the starts are random and the bounds
    those of the reference robot."""


def import_checkpoint(config: ImportConfig, caller: Caller = PYTHON) -> Path:
    """Turns a foreign Masked-HWM checkpoint into one that HWM-v0 can load.

    Returns:
        The directory of the new checkpoint.

    Raises:
        CheckpointError: the foreign checkpoint or the tokenizer cannot be read, or they do not fit each other.
        DatasetError: the data set cannot be read.
        InvalidInputError: the result would replace the foreign checkpoint, or anything but an earlier import of it.
        SavingError: the result cannot be written.
    """
    directory = config.directory
    out = config.out or Path("out/imported") / directory.resolve().name
    check_writable(out / "config.json")
    if same_place(out, directory):
        raise InvalidInputError(f"{out} is the foreign checkpoint and would be overwritten; choose another directory")
    _check_free(out, directory)
    dataset = None if config.data is None else Dataset(config.data)
    tokenizer = None if config.tokenizer is None else load_tokenizer(config.tokenizer)
    if dataset is not None and tokenizer is not None:
        check_tokenizer(tokenizer, dataset)
    model = load_foreign_checkpoint(directory)
    stand_ins = {}
    if tokenizer is None:
        tokenizer = stand_in_tokenizer(model.config.codebook_size)
        stand_ins["tokenizer"] = "untrained: frames mean nothing until the one that the model was trained with is given"
    if dataset is None:
        statistics, starts = stand_in_statistics(), stand_in_starts(model.config)
        stand_ins["starts"] = "random tokens, all actions zero"
        stand_ins["action_statistics"] = "of uniform actions within the limits of the reference robot"
    else:
        statistics = ActionStatistics.from_dataset(dataset)
        starts = Starts.from_dataset(dataset, model.config.num_past_clips, NUM_STARTS, seed=0)
    for part, nature in stand_ins.items():
        logger.warning("stand-in for %s: %s", part, nature)
    provenance = {"imported_from": directory.resolve().name, "stand_ins": stand_ins}
    robot = EVE if dataset is None else dataset.metadata.robot
    imported = Checkpoint(model, tokenizer, statistics, starts, robot=robot, provenance=provenance)
    save(imported, out, weights=torch.float32)
    named = None if isinstance(tokenizer, TinyTokenizer) else config.tokenizer
    caller.show(f"wrote {out}; play it with {play_hint(out, named)}")
    return out


def _check_free(out: Path, directory: Path) -> None:
    """Checks that a directory is empty, or holds an earlier import of the same checkpoint.

    Raises:
        InvalidInputError: it holds something else.
    """
    if not os.path.isdir(out) or not os.listdir(out):
        return
    config = read_json(out / "config.json") if os.path.isfile(out / "config.json") else {}
    provenance = config.get("provenance")
    if not isinstance(provenance, dict) or provenance.get("imported_from") != directory.resolve().name:
        raise InvalidInputError(
            f"{shown(out)} holds something other than an earlier import of {directory.name}; choose another directory"
        )


def stand_in_tokenizer(codebook_size: int) -> TinyTokenizer:
    """Returns an untrained tokenizer with exactly this many codes, always the same one."""
    config = TinyTokenizerConfig(
        fsq_levels=_levels(codebook_size),
        coarse_width=8,
        fine_width=8,
        frame_width=8,
        pixel_width=8,
        encoder_blocks=(0, 0),
        decoder_blocks=(0, 0, 0),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TinyTokenizer(config).eval()


def stand_in_statistics() -> ActionStatistics:
    """Returns statistics of actions that are uniform within the reference robot's limits."""
    low, high = robot.ACTION_LOW, robot.ACTION_HIGH
    half, percent, deviation = np.float32(0.5), np.float32(0.01), np.float32(12**-0.5)
    return ActionStatistics(
        mean=low + half * (high - low),
        std=deviation * (high - low),
        low=low,
        high=high,
        p01=low + percent * (high - low),
        p99=high - percent * (high - low),
        max_change=robot.RATE_LIMITS / np.float32(FRAME_RATE_HZ),
    )


def stand_in_starts(config: MaskedHWMConfig) -> Starts:
    """Returns histories of random tokens in which nothing moves."""
    shape = (NUM_RANDOM_STARTS, config.num_past_clips, LATENTS_PER_CLIP, *config.grid_size)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.codebook_size, shape, generator=generator, dtype=torch.int32)
    return Starts(tokens, torch.zeros(*shape[:2], FRAMES_PER_CLIP, ACTION_DIM), poses=None)


def _levels(codebook_size: int) -> tuple[int, ...]:
    """Returns factors of the codebook's size: the small ones, largest first, then the rest without small ones."""
    levels = []
    for level in range(MOST_LEVELS, 1, -1):
        while codebook_size % level == 0:
            levels.append(level)
            codebook_size //= level
    return (*levels, codebook_size) if codebook_size > 1 else tuple(levels)
