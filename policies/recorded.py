"""A policy that plays recorded actions, regardless of its observations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from hwm_env.data.reader import Dataset
from hwm_env.errors import InvalidInputError
from hwm_env.policy import SCRIPTED, Interface
from hwm_env.replay import Replay
from hwm_env.types import FRAMES_PER_CLIP, Float32Array


class Recorded:
    """Plays the same chunks in every row, and repeats the last one at the end.

    Args:
        name: name for reports.
        chunks: float32 [N, 17, 25], physical units.

    Raises:
        InvalidInputError: there are no chunks.
    """

    family: Final = SCRIPTED
    interface: Final = Interface(obs_mode="state")

    def __init__(self, name: str, chunks: Float32Array) -> None:
        if not len(chunks):
            raise InvalidInputError(f"{name} has no actions")
        self.name = name
        self._chunks = chunks

    def reset(self, seeds: Sequence[int]) -> None:
        """Goes back to the first chunk."""
        self._step = 0

    def act(self, observations: Sequence[Any]) -> Float32Array:
        """Returns the next chunk for each row, float32 [B, 17, 25]."""
        chunk = self._chunks[min(self._step, len(self._chunks) - 1)]
        self._step += 1
        return np.stack([chunk] * len(observations))


def from_replay(task: str, file: str) -> Recorded:
    """Plays a replay file of the wrapper RecordReplay: `policies.recorded:from_replay@FILE` on a command line."""
    return Recorded(f"replay {Path(file).name}", Replay.load(Path(file)).actions)


def from_dataset(task: str, directory: str) -> Recorded:
    """Plays the first segment of a data set in the 1X v2.0 format: `policies.recorded:from_dataset@DIRECTORY`.

    Raises:
        DatasetError: the directory is no such data set.
    """
    shard = Dataset(directory).shards[0]
    beyond = np.flatnonzero(shard.segments != shard.segments[0])
    clips = int(beyond[0] if len(beyond) else shard.num_frames) // FRAMES_PER_CLIP
    shard.check_states(0, clips * FRAMES_PER_CLIP)
    chunks = np.array(shard.states[: clips * FRAMES_PER_CLIP]).reshape(clips, FRAMES_PER_CLIP, -1)
    return Recorded(f"recording {Path(directory).name}", chunks)
