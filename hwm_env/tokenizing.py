"""`hwm-env tokenize`: from videos or raw images to a data set of tokens."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Len

from hwm_env.arguments import OutArgument, SourceArgument
from hwm_env.checkpoint import load_tokenizer
from hwm_env.data.state_tables import StateMapping
from hwm_env.fields import CheckedFields, Count, CountOrZero
from hwm_env.tokenizers.recordings import tokenize_recordings


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizationConfig(CheckedFields):
    """What is tokenised, and how."""

    source: SourceArgument
    """Directory of videos, each beside its states (walk.mp4 and walk.csv, walk.parquet or walk.npy; needs the data
    extra), or one that `hwm-env collect` wrote."""
    out: OutArgument
    """New directory for the tokens, states and segments; a shard for each video (or shard) and offset."""
    tokenizer: str
    """Directory with encoder.jit and decoder.jit (Cosmos), file or directory that `hwm-env train-tokenizer` wrote, or
    the name or directory of a checkpoint."""
    offsets: Annotated[tuple[CountOrZero, ...], Len(1)] = (0,)
    """Frames to leave out at the beginning of each shard, one pass over the source for each; more offsets show the
    model more ways to cut the same motion into clips."""
    mapping: Path | None = None
    """JSON file that describes the columns of the states: "columns" (our names to theirs, or to column numbers of .npy;
    base_x, base_y and base_yaw are the pose; "observation.state[3]" is one number of a column of lists), "time" (column
    of dates with times, durations, or numbers of s, ms, us or ns) or "hz" (rows a second), "fill" (values of missing
    numbers, else 0), "angle_unit" ("rad" or "deg"). By default columns have our names, and "time" gives the times if
    the table has such a column, else a row is a frame."""
    image_size: Count | None = None
    """Crop videos, as a player shows them, to the middle square and scale it to this many pixels (Cosmos: 256); by
    default they keep their size, whose sides must be multiples of 8."""
    workers: Count = 1
    """Number of processes, each with its own tokenizer."""
    device: str = "auto"
    """Device that encodes: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"."""


def tokenize(config: TokenizationConfig) -> None:
    """Turns videos beside states, or a recording with raw images, into a data set of tokens at 30 Hz.

    If it is interrupted, the same command continues where it stopped.

    Raises:
        CheckpointError: there is no such tokenizer.
        DatasetError: the source cannot be read, or the output directory holds something else.
        SavingError: a file cannot be written.
    """
    tokenize_recordings(
        config.source,
        config.out,
        functools.partial(load_tokenizer, config.tokenizer, device=config.device),
        config.offsets,
        mapping=None if config.mapping is None else StateMapping.read(config.mapping),
        image_size=config.image_size,
        workers=config.workers,
        device=config.device,
    )
