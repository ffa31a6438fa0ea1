"""`hwm-env tokenize`: from videos or raw images to a data set of tokens."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from annotated_types import Len

from hwm_env import hub
from hwm_env.arguments import OutArgument, SourceArgument
from hwm_env.checkpoint import load_tokenizer
from hwm_env.data.lerobot import LeRobotLayout
from hwm_env.data.state_tables import StateMapping
from hwm_env.fields import CheckedFields, Count, CountOrZero
from hwm_env.tokenizers.recordings import tokenize_recordings

LEROBOT_PREFIX: Final = "lerobot:"
"""Begins the source's name if it is a LeRobot data set, which may be on the Hugging Face Hub."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizationConfig(CheckedFields):
    """What is tokenised, and how."""

    source: SourceArgument
    """Directory of videos, each beside its states (walk.mp4 and walk.csv, walk.parquet or walk.npy; needs the data
    extra), or one that `hwm-env collect` wrote, or a LeRobot data set: "lerobot:" and its directory or its name on the
    Hugging Face Hub (needs the extras data and hub)."""
    out: OutArgument
    """New directory for the tokens, states and segments; a shard for each video (or shard, or episode) and offset."""
    tokenizer: str
    """Directory with encoder.jit and decoder.jit (Cosmos), file or directory that `hwm-env train-tokenizer` wrote, or
    the name or directory of a checkpoint."""
    offsets: Annotated[tuple[CountOrZero, ...], Len(1)] = (0,)
    """Frames to leave out at the beginning of each shard, one pass over the source for each; more offsets show the
    model more ways to cut the same motion into clips."""
    mapping: Path | None = None
    """JSON file that describes the columns of the states: "robot" (its name and joints, if they are not the 25 numbers:
    see docs/robots.md), "columns" (our names to theirs, or to column numbers of .npy; base_x, base_y and base_yaw are
    the pose; "observation.state[3]" is one number of a column of lists), "time" (column of dates with times, durations,
    or numbers of s, ms, us or ns) or "hz" (rows a second), "fill" (values of missing numbers, else 0), "angle_unit"
    ("rad" or "deg"). By default columns have our names, and "time" gives the times if the table has such a column, else
    a row is a frame."""
    camera: str | None = None
    """Camera of a LeRobot data set, such as observation.images.head or head; by default the only one."""
    episodes: tuple[CountOrZero, ...] | None = None
    """Indices of episodes of a LeRobot data set; by default all."""
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
        InvalidInputError: an option is invalid, or not valid for this kind of source.
        DatasetError: the source cannot be read, or the output directory holds something else.
        SavingError: a file cannot be written.
    """
    tokenize_recordings(
        _directory(config),
        config.out,
        functools.partial(load_tokenizer, config.tokenizer, device=config.device),
        config.offsets,
        mapping=None if config.mapping is None else StateMapping.read(config.mapping),
        image_size=config.image_size,
        camera=config.camera,
        episodes=config.episodes,
        workers=config.workers,
        device=config.device,
    )


def _directory(config: TokenizationConfig) -> Path:
    """Returns the source's directory; of a LeRobot data set on the Hub, downloads only what is needed."""
    source = str(config.source)
    if not source.startswith(LEROBOT_PREFIX):
        return config.source
    name = source.removeprefix(LEROBOT_PREFIX)
    on_hub = not os.path.exists(name) and hub.is_id(name)
    directory = hub.download_data(name, ["meta/*"]) if on_hub else Path(name)
    layout = LeRobotLayout.read(directory)
    if on_hub:
        camera = layout.camera(config.camera)
        episodes = layout.chosen(config.episodes)
        files = [episode.table for episode in episodes]
        files += [episode.videos[camera].path for episode in episodes if camera in episode.videos]
        hub.download_data(name, ["meta/*", *dict.fromkeys(file.relative_to(directory).as_posix() for file in files)])
    return directory
