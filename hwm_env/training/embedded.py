"""Makes the embedded checkpoint from nothing: recordings, tokenizer, tokens, world model, read-out.

Every stage is seeded and leaves its result in one directory; a stage whose result is there is not repeated, and both
trainings go on where they were stopped.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from hwm_env import checkpoint as checkpoints
from hwm_env.data.reader import Dataset
from hwm_env.model.presets import EMBEDDED
from hwm_env.tokenizers.recordings import tokenize_recordings
from hwm_env.training.assemble import with_readout
from hwm_env.training.readout import ReadoutTrainingConfig, judge_readout, train_readout
from hwm_env.training.recipe import LAPTOP
from hwm_env.training.tokenizer import TokenizerTrainingConfig, train_tokenizer
from hwm_env.training.world_model import train_world_model

logger = logging.getLogger(__name__)

SEED = 0
TRAIN_EPISODES = 400
VALIDATION_EPISODES = 30
TRAIN_OFFSETS = (0, 4, 8, 12)
"""Every recording is cut into clips at four offsets: four times the windows for nothing."""
TOKENIZER = TokenizerTrainingConfig(seed=SEED)
WORLD_MODEL = replace(LAPTOP, seed=SEED)
READOUT = ReadoutTrainingConfig(seed=SEED)


def make_embedded(directory: Path, destination: Path) -> None:
    """Runs all stages that have not run yet.

    Args:
        directory: keeps recordings, tokens and runs (about 3 GB).
        destination: where the checkpoint is written.
    """
    from hwm_env.reference.collect import collect

    for split, episodes in (("train", TRAIN_EPISODES), ("validation", VALIDATION_EPISODES)):
        if not (directory / f"{split}-raw" / "metadata.json").exists():
            collect(directory / f"{split}-raw", num_episodes=episodes, seed=SEED, split=split)
    tokenizer = train_tokenizer(
        directory / "train-raw",
        directory / "tokenizer",
        TOKENIZER,
        resume=True,
        validation=directory / "validation-raw",
    )
    for split, offsets in (("train", TRAIN_OFFSETS), ("validation", (0,))):
        if not (directory / split / "metadata.json").exists():
            tokenize_recordings(directory / f"{split}-raw", directory / split, lambda: tokenizer, offsets)
    train, validation = Dataset(directory / "train"), Dataset(directory / "validation")
    provenance: dict[str, object] = {
        "command": "make embedded",
        "data": {"train_episodes": TRAIN_EPISODES, "train_offsets": TRAIN_OFFSETS, "seed": SEED},
        "tokenizer": asdict(TOKENIZER),
        "world_model": asdict(WORLD_MODEL),
    }
    started_s = time.monotonic()
    newest = train_world_model(
        train,
        validation,
        tokenizer,
        directory / "world-model",
        EMBEDDED,
        WORLD_MODEL,
        resume=True,
        device="cpu",
        provenance=provenance,
    )
    logger.info("world model: %.0f minutes in this sitting", (time.monotonic() - started_s) / 60)
    checkpoint = checkpoints.load(newest)
    readout = train_readout(train, READOUT, checkpoint.model.config)
    error = {"validation": judge_readout(readout, validation)}
    logger.info("read-out on held-out clips: %s", error)
    whole = with_readout(checkpoint, readout, {"recipe": asdict(READOUT), "error": error})
    # As true as a window that is encoded anew, and faster (docs/decoding.md).
    checkpoints.save(replace(whole, decoding=replace(whole.decoding, history="streaming")), destination)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs `make_embedded` from the command line."""
    parser = argparse.ArgumentParser(description="Makes the embedded checkpoint from nothing.")
    parser.add_argument("--directory", type=Path, required=True, help="for recordings, tokens and runs")
    parser.add_argument("--destination", type=Path, default=checkpoints.ASSETS / "reference", help="the checkpoint")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make_embedded(arguments.directory, arguments.destination)


if __name__ == "__main__":
    main()
