"""From a foreign checkpoint to one that plays in HWM-v0, with stand-ins for what it lacks."""

import logging
import os
from pathlib import Path

import numpy as np
import torch

from hwm_env.checkpoint import Checkpoint, load_tokenizer, save
from hwm_env.data.files import check_writable, read_json, same_place, shown
from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.errors import InvalidInputError
from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.convert import load_foreign_checkpoint
from hwm_env.reference import robot
from hwm_env.starts import Starts
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.tokenizers.tiny import TinyTokenizer, TinyTokenizerConfig
from hwm_env.training.assemble import NUM_STARTS
from hwm_env.types import ACTION_DIM, FRAME_RATE_HZ, FRAMES_PER_CLIP, LATENTS_PER_CLIP

NUM_RANDOM_STARTS = 8
MOST_LEVELS = 8

logger = logging.getLogger(__name__)


def import_checkpoint(
    directory: Path, out: Path, tokenizer: str | Path | None = None, data: Path | None = None
) -> None:
    """Writes a checkpoint directory with a foreign model.

    Args:
        directory: the foreign checkpoint (see `load_foreign_checkpoint`).
        out: directory to write.
        tokenizer: as for `load_tokenizer`; None: one whose frames mean nothing.
        data: data set with tokens, for starts and action statistics; None: random starts, the reference robot's range.

    Raises:
        CheckpointError: the foreign checkpoint or the tokenizer cannot be read, or they do not fit each other.
        DatasetError: the data set cannot be read.
        InvalidInputError: the result would replace the foreign checkpoint, or anything but an earlier import of it.
        SavingError: the result cannot be written.
    """
    check_writable(out / "config.json")
    if same_place(out, directory):
        raise InvalidInputError(f"{out} is the foreign checkpoint and would be overwritten; choose another directory")
    _check_free(out, directory)
    dataset = None if data is None else Dataset(data)
    loaded_tokenizer = None if tokenizer is None else load_tokenizer(tokenizer)
    if dataset is not None and loaded_tokenizer is not None:
        check_tokenizer(loaded_tokenizer, dataset)
    model = load_foreign_checkpoint(directory)
    stand_ins = {}
    if loaded_tokenizer is None:
        loaded_tokenizer = stand_in_tokenizer(model.config.codebook_size)
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
    imported = Checkpoint(model, loaded_tokenizer, statistics, starts, provenance=provenance)
    save(imported, out, weights=torch.float32)


def _check_free(out: Path, directory: Path) -> None:
    """Makes sure that a directory holds nothing, or an earlier import of the same checkpoint.

    Raises:
        InvalidInputError: it holds something else.
    """
    if not os.path.isdir(out) or not os.listdir(out):
        return
    config = read_json(out / "config.json") if os.path.isfile(out / "config.json") else {}
    provenance = config.get("provenance")
    if not isinstance(provenance, dict) or provenance.get("imported_from") != directory.resolve().name:
        raise InvalidInputError(
            f"{shown(out)} holds something else than an earlier import of {directory.name}; choose another directory"
        )


def stand_in_tokenizer(codebook_size: int) -> TinyTokenizer:
    """An untrained tokenizer with exactly this many codes, always the same one."""
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
    """Statistics of actions that are uniform within the reference robot's limits."""
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
    """Histories of random tokens in which nothing moves."""
    shape = (NUM_RANDOM_STARTS, config.num_past_clips, LATENTS_PER_CLIP, *config.grid_size)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.codebook_size, shape, generator=generator, dtype=torch.int32)
    return Starts(tokens, torch.zeros(*shape[:2], FRAMES_PER_CLIP, ACTION_DIM), poses=None)


def _levels(codebook_size: int) -> tuple[int, ...]:
    """Factors of the codebook's size: small ones, largest first, and what they leave, which has no small ones."""
    levels = []
    for level in range(MOST_LEVELS, 1, -1):
        while codebook_size % level == 0:
            levels.append(level)
            codebook_size //= level
    return (*levels, codebook_size) if codebook_size > 1 else tuple(levels)
