"""Finds the recordings behind the shards of a data set, which may be cut into clips in several ways."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.types import FRAME_RATE_HZ, Float32Array, Int64Array


class RecordingTimes(NamedTuple):
    """When frames were recorded."""

    recordings: Int64Array
    """int64 [B]: index of the recording in `Recordings.names`."""
    times_s: Float32Array
    """float32 [B, F]: seconds since the beginning of the source that the recording's shards were cut from."""


class Recordings:
    """The recordings of a data set with poses; a recording is one segment of all shards cut from one source.

    Shards of one source begin at different frames of it (`shard_sources` and `frame_offsets` in the metadata).

    Attributes:
        names: name of each recording, such as "walk.mp4, segment 0".
        starts_s: beginning of each recording in its source, float32 [R].
        durations_s: time from the first to the last frame of each recording, float32 [R].
        middles_m: mean x and y of each recording, float32 [R, 2].
    """

    names: tuple[str, ...]
    starts_s: Float32Array
    durations_s: Float32Array
    middles_m: Float32Array

    def __init__(self, data: Dataset) -> None:
        """Finds the recordings.

        Raises:
            DatasetError: the data set has no poses.
        """
        data.require(ShardFile.POSES)
        found: dict[str, int] = {}
        spans: list[tuple[int, int]] = []
        sums: list[npt.NDArray[np.float64]] = []
        self._offsets: list[int] = []
        self._stretch_starts: list[Int64Array] = []
        self._recording_of_stretch: list[Int64Array] = []
        for shard, (source, offset) in zip(data.shards, shard_sources(data), strict=True):
            assert shard.poses is not None, f"shard {shard.index} has no poses"
            edges = [0, *(np.flatnonzero(np.diff(shard.segments)) + 1).tolist(), shard.num_frames]
            of_stretch = []
            for begin, end in pairwise(edges):
                name = f"{source}, segment {shard.segments[begin]}"
                span = (offset + begin, offset + end)
                total = np.array([*shard.poses[begin:end, :2].sum(axis=0, dtype=np.float64), end - begin])
                recording = found.setdefault(name, len(found))
                if recording == len(spans):
                    spans.append(span)
                    sums.append(total)
                else:
                    spans[recording] = (min(spans[recording][0], span[0]), max(spans[recording][1], span[1]))
                    sums[recording] = sums[recording] + total
                of_stretch.append(recording)
            self._offsets.append(offset)
            self._stretch_starts.append(np.array(edges[:-1], dtype=np.int64))
            self._recording_of_stretch.append(np.array(of_stretch, dtype=np.int64))
        first, stop = np.array(spans).T
        totals = np.stack(sums)
        self.names = tuple(found)
        self.starts_s = (first / FRAME_RATE_HZ).astype(np.float32)
        self.durations_s = ((stop - 1 - first) / FRAME_RATE_HZ).astype(np.float32)
        self.middles_m = (totals[:, :2] / totals[:, 2:]).astype(np.float32)

    def times(self, shard: int, frames: Int64Array) -> RecordingTimes:
        """Returns when frames of one shard were recorded.

        Args:
            shard: position of the shard in the data set.
            frames: int64 [B, F]; the frames of a row belong to one recording.
        """
        stretches = np.searchsorted(self._stretch_starts[shard], frames[:, 0], side="right") - 1
        times_s = (frames + self._offsets[shard]) / FRAME_RATE_HZ
        return RecordingTimes(self._recording_of_stretch[shard][stretches], times_s.astype(np.float32))


def shard_sources(data: Dataset) -> Iterator[tuple[str, int]]:
    """Yields for each shard the name of the source that it was cut from, and the frame of it at which it begins."""
    names, offsets = data.metadata.extra.get("shard_sources"), data.metadata.extra.get("frame_offsets")
    if not isinstance(names, list) or len(names) != data.metadata.num_shards:
        names = [f"shard {index}" for index in range(data.metadata.num_shards)]
    for shard in data.shards:
        name = names[shard.index]
        # The shards of a source follow each other in the order of the offsets.
        earlier = names[: shard.index].count(name)
        yield name, int(offsets[earlier]) if isinstance(offsets, list) and earlier < len(offsets) else 0
