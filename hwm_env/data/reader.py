"""Reads data sets in the 1X v2.0 format, memory-mapped."""

import math
import shlex
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hwm_env.data.files import what_is_at
from hwm_env.data.format import (
    METADATA_FILE,
    DatasetMetadata,
    Layout,
    ShardFile,
    count_shards,
    detect_layout,
    read_metadata,
    read_num_frames,
)
from hwm_env.errors import DatasetError
from hwm_env.types import Float32Array, Int32Array, UInt8Array, frozen

_COLLECT = ("hwm-env", "collect", "{directory}-recorded")
_TOKENIZE = ("hwm-env", "tokenize", "{directory}", "{directory}-tokens", "--tokenizer", "room-64")
_REMEDIES: Final[Mapping[ShardFile, tuple[str, str, Sequence[str]]]] = {
    ShardFile.TOKENS: ("tokens", "make them, as with", _TOKENIZE),
    ShardFile.FRAMES: ("raw images", "record some, as with", _COLLECT),
    ShardFile.POSES: (
        "base poses (x, y and yaw of each frame)",
        "record them, map columns of your tables to them, or try the reference world",
        _COLLECT,
    ),
}
"""What is missing, what to do, and an example of a command that does it."""
_ARRAYS = (ShardFile.STATES, ShardFile.SEGMENTS, ShardFile.TOKENS, ShardFile.FRAMES, ShardFile.POSES)

MAX_READ_BYTES: Final = 2**19
"""Larger files are mapped. A map keeps a file descriptor, and a process may have only about a thousand of them."""


class Shard:
    """One shard: read-only arrays that are mapped into memory (small ones: read) on first access."""

    index: int
    num_frames: int

    def __init__(self, directory: Path, layout: Layout, index: int, metadata: DatasetMetadata) -> None:
        """Finds the shard's files and checks their sizes against its metadata.

        Raises:
            DatasetError: a file is missing, truncated or too long.
        """
        self.index = index
        self._number_names = metadata.robot.names_of_numbers
        self.num_frames = read_num_frames(directory, layout, index)
        self._files: dict[ShardFile, tuple[Path, tuple[int, ...]]] = {}
        self._poses: Float32Array | None = None
        for file in _ARRAYS:
            path = file.path(directory, layout, index)
            if path.exists() or file in layout.required:
                if file is ShardFile.FRAMES and metadata.image_size is None:
                    raise DatasetError(
                        f'{path} holds raw images of unknown size; add "image_size": [height, width] to {METADATA_FILE}'
                    )
                shape = file.shape(self.num_frames, metadata)
                if layout is Layout.TEST and file is ShardFile.TOKENS:
                    shape = _shape_of_fewer(path, shape, file.dtype)
                _check_size(path, file, shape)
                self._files[file] = (path, shape)

    def __getstate__(self) -> dict[str, object]:
        """Returns the state without the arrays, so that a copy, possibly in another process, maps them itself."""
        names = ("index", "num_frames", "_files", "_poses", "_number_names")
        return {name: getattr(self, name) for name in names}

    def has(self, file: ShardFile) -> bool:
        """Returns whether the shard has this kind of file."""
        return file in self._files

    @property
    def num_clips(self) -> int:
        """Number of clips that have tokens; the last one may be partial."""
        return self._files[ShardFile.TOKENS][1][0] if self.has(ShardFile.TOKENS) else 0

    def check_states(self, first_frame: int, stop_frame: int) -> None:
        """Checks that the states of some frames are finite.

        Raises:
            DatasetError: a state is NaN or infinite.
        """
        finite = np.isfinite(self.states[first_frame:stop_frame])
        if not finite.all():
            place, column = np.argwhere(~finite)[0]
            frame = first_frame + place
            raise DatasetError(
                f"states of shard {self.index}, frame {frame}: {self._number_names[column]} is "
                f"{self.states[frame, column]}, expected a finite number; repair "
                f"{self._files[ShardFile.STATES][0]}, or remove the shard"
            )

    @cached_property
    def states(self) -> Float32Array:
        """Measured action numbers, float32 [N, 25]."""
        return self._array(ShardFile.STATES)

    @cached_property
    def segments(self) -> Int32Array:
        """The segment of each frame, int32 [N]."""
        if not self.has(ShardFile.SEGMENTS):
            return frozen(np.zeros(self.num_frames, np.int32))
        return self._array(ShardFile.SEGMENTS)

    @cached_property
    def tokens(self) -> Int32Array | None:
        """Tokens of the clips, int32 [num_clips, 3, h, w], or `None`; the last clip may be partial."""
        return self._array(ShardFile.TOKENS) if self.has(ShardFile.TOKENS) else None

    @cached_property
    def frames(self) -> UInt8Array | None:
        """Raw images, uint8 [N, H, W, 3], or `None`."""
        return self._array(ShardFile.FRAMES) if self.has(ShardFile.FRAMES) else None

    @cached_property
    def poses(self) -> Float32Array | None:
        """True base poses x (m), y (m), yaw (rad), float32 [N, 3], or `None`."""
        if self._poses is not None:
            return self._poses
        return self._array(ShardFile.POSES) if self.has(ShardFile.POSES) else None

    def with_poses(self, poses: Float32Array) -> "Shard":
        """Returns the shard with other base poses, float32 [N, 3], instead of those in its file."""
        assert poses.shape == (self.num_frames, 3), f"poses {poses.shape} of {self.num_frames} frames"
        other = copy(self)
        other._poses = frozen(poses)
        return other

    def _array(self, file: ShardFile) -> npt.NDArray[Any]:
        path, shape = self._files[file]
        if _num_bytes(shape, file.dtype) <= MAX_READ_BYTES:
            array = np.fromfile(path, file.dtype).reshape(shape)
            array.flags.writeable = False
            return array
        # A plain view of the map: slicing an np.memmap costs several times as much.
        return np.asarray(np.memmap(path, file.dtype, "r", shape=shape))


class Dataset:
    """A finished data set.

    Attributes:
        directory: the directory of the data set.
        metadata: the content of its `metadata.json`.
        shards: its shards, in order.
    """

    directory: Path
    metadata: DatasetMetadata
    shards: Sequence[Shard]

    def __init__(self, directory: str | Path) -> None:
        """Opens a data set in any layout; reads only metadata and file sizes.

        Raises:
            DatasetError: the directory is not a finished data set, has no shards, or its files are missing, truncated
                or inconsistent.
        """
        self.directory = Path(directory)
        self.metadata = read_metadata(self.directory)
        if self.metadata.num_shards == 0:
            raise DatasetError(f"{self.directory} is empty: its {METADATA_FILE} says 0 shards; write it again")
        layout = detect_layout(self.directory)
        self._check_count(layout)
        self.shards = tuple(
            Shard(self.directory, layout, index, self.metadata) for index in range(self.metadata.num_shards)
        )
        if self.num_frames != self.metadata.num_images:
            raise DatasetError(
                f"{self.directory / METADATA_FILE} says {self.metadata.num_images} images, but its "
                f"{len(self.shards)} shards have {self.num_frames} frames; copy the data set again"
            )
        for file in _ARRAYS:
            lacking = [shard.index for shard in self.shards if not shard.has(file)]
            if 0 < len(lacking) < len(self.shards):
                raise DatasetError(
                    f"expected {file.path(self.directory, layout, lacking[0])}, found nothing; other shards have "
                    f"this kind of file, {len(lacking)} of {len(self.shards)} do not; copy the missing ones again"
                )

    def _check_count(self, layout: Layout) -> None:
        expected, found = self.metadata.num_shards, count_shards(self.directory, layout)
        if found == expected:
            return
        raise DatasetError(
            f"{self.directory / METADATA_FILE} says {expected} shards, the last one with "
            f"{ShardFile.STATES.path(self.directory, layout, expected - 1)}, but the files there are those of {found}; "
            'copy the data set again, or correct "num_shards" and "num_images"'
        )

    def subset(self, positions: Sequence[int]) -> "Dataset":
        """Returns the data set with some of its shards, which keep their indices."""
        part = copy(self)
        part.shards = tuple(self.shards[position] for position in positions)
        return part

    @property
    def num_frames(self) -> int:
        """Number of frames in all shards together."""
        return sum(shard.num_frames for shard in self.shards)

    def has(self, file: ShardFile) -> bool:
        """Returns whether the shards have this kind of file."""
        return self.shards[0].has(file)

    def require(self, file: ShardFile) -> None:
        """Checks that the shards have this kind of file.

        Raises:
            DatasetError: they lack it; names the command that makes it.
        """
        if not self.has(file):
            contents, remedy, command = _REMEDIES[file]
            arguments = [word.format(directory=self.directory) for word in command]
            raise DatasetError(f"{self.directory} has no {contents}; {remedy}: {shlex.join(arguments)}")


def _shape_of_fewer(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
    """Returns the shape of a test sample's tokens: of the clips that the file holds, if these are 1 to all clips."""
    num_clips, rest = divmod(path.stat().st_size if path.is_file() else 0, _num_bytes(shape[1:], dtype))
    return (num_clips, *shape[1:]) if rest == 0 and 1 <= num_clips <= shape[0] else shape


def _check_size(path: Path, file: ShardFile, shape: tuple[int, ...]) -> None:
    expected = _num_bytes(shape, file.dtype)
    contents = f"{file.dtype.name} {list(shape)}"
    if not path.is_file():
        raise DatasetError(
            f"{path}: expected a file of {expected} bytes ({contents}), found {what_is_at(path)}; copy it again"
        )
    actual = path.stat().st_size
    if actual != expected:
        raise DatasetError(
            f"{path}: expected {expected} bytes ({contents}), got {actual}; "
            "the file was cut short or belongs to another data set: copy it again"
            + (_fitting_grid(actual, shape) if file is ShardFile.TOKENS else "")
        )


def _fitting_grid(num_bytes: int, shape: tuple[int, ...]) -> str:
    """Returns a remedy for the error message if the size of a token file fits another, square grid."""
    num_bytes_of_one = _num_bytes(shape[:2], ShardFile.TOKENS.dtype)
    side = math.isqrt(num_bytes // num_bytes_of_one)
    if side == 0 or side**2 * num_bytes_of_one != num_bytes:
        return ""
    return f', or, if its grid is {side} x {side}, which fits, put "token_grid": [{side}, {side}] into {METADATA_FILE}'


def _num_bytes(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
    return math.prod(shape) * dtype.itemsize
