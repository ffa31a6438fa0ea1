"""Sources for the tokenizer, and recordings with raw images as one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from hwm_env.data.format import METADATA_FILE, ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.videos import Damage
from hwm_env.errors import InvalidInputError
from hwm_env.robot import Robot
from hwm_env.types import Float32Array, Int32Array, UInt8Array


class Recording(NamedTuple):
    """A stretch of N frames at 30 Hz."""

    frames: Iterator[UInt8Array]
    """uint8 [H, W, 3], frame by frame."""
    states: Float32Array
    """float32 [N, 25]."""
    segments: Int32Array
    """int32 [N]."""
    poses: Float32Array | None
    """float32 [N, 3]; `None` if unknown."""
    damage: Damage
    """Count of damaged frames, updated while `frames` is read."""


class Job(Protocol):
    """One shard to make, possibly in a worker process."""

    @property
    def source(self) -> str:
        """Name of the source; shards of one source are never divided between training and validation."""
        ...

    def read(self) -> Recording:
        """Opens the recording."""
        ...


class Source(NamedTuple):
    """All shards to make of a directory of recordings, and their metadata."""

    jobs: Sequence[Job]
    image_size: tuple[int, int]
    """Height and width of all frames."""
    robot: Robot
    """The robot in all of them."""
    extra: dict[str, object]
    """Further keys of the data set's metadata."""
    fingerprint: dict[str, object]
    """Identifies the source and its version."""


@dataclass(frozen=True, slots=True)
class _RecordedShard:
    """A shard of a recording, beginning at frame `offset`."""

    directory: Path
    index: int
    offset: int

    @property
    def source(self) -> str:
        return f"shard {self.index}"

    def read(self) -> Recording:
        shard = Dataset(self.directory).shards[self.index]
        assert shard.frames is not None, f"shard {self.index} has no raw images"
        return Recording(
            iter(shard.frames[self.offset :]),
            shard.states[self.offset :],
            shard.segments[self.offset :],
            None if shard.poses is None else shard.poses[self.offset :],
            Damage(),
        )


def recording_source(directory: Path, offsets: Sequence[int]) -> Source:
    """Returns the shards of a recording with raw images, one for each shard and offset.

    Raises:
        InvalidInputError: `offsets` is empty, negative, repeated, or not less than the length of a shard.
        DatasetError: the recording has no raw images.
    """
    dataset = Dataset(directory)
    dataset.require(ShardFile.FRAMES)
    size = dataset.metadata.image_size
    assert size is not None, "the reader refuses raw images of unknown size"
    check_offsets(offsets)
    shortest = min(shard.num_frames for shard in dataset.shards)
    if max(offsets) >= shortest:
        raise InvalidInputError(
            f"offsets: expected frames from 0 to {shortest - 1} (the shortest shard), got {tuple(offsets)}"
        )
    jobs = [_RecordedShard(directory, shard.index, offset) for offset in offsets for shard in dataset.shards]
    written = (directory / METADATA_FILE).stat()
    fingerprint: dict[str, object] = {
        "recording": str(directory.resolve()),
        "written": [written.st_size, written.st_mtime_ns],
    }
    return Source(jobs, size, dataset.metadata.robot, dict(dataset.metadata.extra), fingerprint)


def check_offsets(offsets: Sequence[int]) -> None:
    """Checks the offsets of a tokenisation.

    Raises:
        InvalidInputError: there are none, or one is negative or repeated.
    """
    if not offsets or len(set(offsets)) != len(offsets) or min(offsets) < 0:
        raise InvalidInputError(
            f"offsets: expected one or more different frame offsets of at least 0, got {tuple(offsets)}"
        )
