"""Reads data sets in the 1X v2.0 format, memory-mapped."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwm_env.data.files import what_is_at
from hwm_env.data.format import (
    METADATA_FILE,
    DatasetMetadata,
    Layout,
    ShardFile,
    detect_layout,
    read_metadata,
    read_shard_metadata,
)
from hwm_env.errors import DatasetError
from hwm_env.types import Float32Array, Int32Array, UInt8Array

_REQUIRED = (ShardFile.STATES, ShardFile.SEGMENTS)
_OPTIONAL = (ShardFile.TOKENS, ShardFile.FRAMES, ShardFile.POSES)


class Shard:
    """One shard: read-only arrays that are mapped into memory when first touched."""

    index: int
    num_frames: int

    def __init__(self, directory: Path, layout: Layout, index: int, metadata: DatasetMetadata) -> None:
        """Finds the shard's files and compares their sizes with what its metadata says.

        Raises:
            DatasetError: a file is missing, truncated or too long.
        """
        self.index = index
        self.num_frames = read_shard_metadata(ShardFile.METADATA.path(directory, layout, index))
        self._files: dict[ShardFile, tuple[Path, tuple[int, ...]]] = {}
        for file in (*_REQUIRED, *_OPTIONAL):
            path = file.path(directory, layout, index)
            if path.exists() or file in _REQUIRED:
                if file is ShardFile.FRAMES and metadata.image_size is None:
                    raise DatasetError(
                        f'{path} holds raw images of unknown size; add "image_size": [height, width] to {METADATA_FILE}'
                    )
                shape = file.shape(self.num_frames, metadata)
                _check_size(path, shape, file.dtype)
                self._files[file] = (path, shape)

    def __getstate__(self) -> dict[str, object]:
        """Leaves the mapped arrays behind, so that a copy in another process maps them itself."""
        return {"index": self.index, "num_frames": self.num_frames, "_files": self._files}

    def has(self, file: ShardFile) -> bool:
        """Whether the shard has this kind of file."""
        return file in self._files

    @cached_property
    def states(self) -> Float32Array:
        """Measured action numbers, float32 [N, 25]."""
        return self._mapped(ShardFile.STATES)

    @cached_property
    def segments(self) -> Int32Array:
        """The segment of each frame, int32 [N]."""
        return self._mapped(ShardFile.SEGMENTS)

    @cached_property
    def tokens(self) -> Int32Array | None:
        """Tokens of the clips, int32 [ceil(N / 17), 3, h, w], or None; the last clip may be partial."""
        return self._mapped(ShardFile.TOKENS) if self.has(ShardFile.TOKENS) else None

    @cached_property
    def frames(self) -> UInt8Array | None:
        """Raw images, uint8 [N, H, W, 3], or None."""
        return self._mapped(ShardFile.FRAMES) if self.has(ShardFile.FRAMES) else None

    @cached_property
    def poses(self) -> Float32Array | None:
        """True base poses x (m), y (m), yaw (rad), float32 [N, 3], or None."""
        return self._mapped(ShardFile.POSES) if self.has(ShardFile.POSES) else None

    def _mapped(self, file: ShardFile) -> npt.NDArray[Any]:
        path, shape = self._files[file]
        # A plain view of the map: slicing an np.memmap itself costs several times as much.
        return np.asarray(np.memmap(path, file.dtype, "r", shape=shape))


class Dataset:
    """A finished data set.

    Attributes:
        directory: where it is.
        metadata: what its `metadata.json` says.
        shards: its shards, in order.
    """

    directory: Path
    metadata: DatasetMetadata
    shards: Sequence[Shard]

    def __init__(self, directory: str | Path) -> None:
        """Opens a data set in either layout; reads metadata and file sizes only.

        Raises:
            DatasetError: the directory is no finished data set, has no shards, or its files are missing, truncated or
                contradict each other.
        """
        self.directory = Path(directory)
        self.metadata = read_metadata(self.directory)
        if self.metadata.num_shards == 0:
            raise DatasetError(f"{self.directory} is empty: its {METADATA_FILE} says 0 shards; write it again")
        layout = detect_layout(self.directory)
        self.shards = tuple(
            Shard(self.directory, layout, index, self.metadata) for index in range(self.metadata.num_shards)
        )
        if self.num_frames != self.metadata.num_images:
            raise DatasetError(
                f"{self.directory / METADATA_FILE} says {self.metadata.num_images} images, but its "
                f"{len(self.shards)} shards have {self.num_frames} frames; copy the data set again"
            )
        for file in _OPTIONAL:
            lacking = [shard.index for shard in self.shards if not shard.has(file)]
            if 0 < len(lacking) < len(self.shards):
                raise DatasetError(
                    f"expected {file.path(self.directory, layout, lacking[0])}, found nothing; other shards have "
                    f"this kind of file, {len(lacking)} of {len(self.shards)} do not; copy the missing ones again"
                )

    @property
    def num_frames(self) -> int:
        """Frames in all shards together."""
        return sum(shard.num_frames for shard in self.shards)

    def has(self, file: ShardFile) -> bool:
        """Whether the shards have this kind of file."""
        return self.shards[0].has(file)


def _check_size(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    contents = f"{dtype.name} {list(shape)}"
    if not path.is_file():
        raise DatasetError(
            f"{path}: expected a file of {expected} bytes ({contents}), found {what_is_at(path)}; copy it again"
        )
    actual = path.stat().st_size
    if actual != expected:
        raise DatasetError(
            f"{path}: expected {expected} bytes ({contents}), got {actual}; "
            "the file was cut short or belongs to another data set: copy it again"
        )
