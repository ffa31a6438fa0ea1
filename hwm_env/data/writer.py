"""Writes data sets in the 1X v2.0 format."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from hwm_env.data.files import check_writable, shown, what_is_at, write_files, writing
from hwm_env.data.format import (
    DEFAULT_TOKEN_GRID,
    METADATA_FILE,
    DatasetMetadata,
    Layout,
    ShardFile,
    read_damaged_frames,
    read_shard_metadata,
    shard_metadata,
    write_metadata,
)
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.fields import CountOrZero, checked
from hwm_env.robot import EVE, Robot
from hwm_env.types import FRAME_RATE_HZ, Float32Array, Int32Array, UInt8Array


class DatasetWriter:
    """Writes one data set, shard by shard.

    A shard's files appear together, its metadata after its arrays, and the data set's `metadata.json` last, so that an
    interrupted write is recognised. Several processes may write to one directory, each with its own writer (or a
    pickled copy) and different shard indices; one of them calls `finish` when all are done.
    """

    def __init__(
        self,
        directory: Path,
        *,
        layout: Literal[Layout.TRAIN, Layout.FLAT] = Layout.TRAIN,
        token_grid: tuple[int, int] | None = None,
        image_size: tuple[int, int] | None = None,
        tokenizer: str | None = None,
        robot: Robot = EVE,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Prepares to write; creates nothing yet.

        Args:
            directory: the directory to write to; created if needed, and must not contain a finished data set.
            layout: arrangement of the files.
            token_grid: rows and columns of a latent's token grid; `None` if shards have no tokens.
            image_size: height and width of the raw images in pixels; `None` if shards have no raw images.
            tokenizer: identity of the tokenizer that made the tokens.
            robot: the robot, whose joints the 25 numbers carry.
            extra: further keys for `metadata.json`, such as "split" and "seed".

        Raises:
            DatasetError: the directory already contains a finished data set, or is a file.
            SavingError: the directory cannot be written to.
        """
        self.directory = Path(directory)
        with writing(self.directory / METADATA_FILE):
            if os.path.lexists(self.directory) and not self.directory.is_dir():
                raise DatasetError(
                    f"expected nothing or a directory at {shown(self.directory)}, found {what_is_at(self.directory)}; "
                    "give a directory that is new or empty"
                )
        check_writable(self.directory / METADATA_FILE)
        if (self.directory / METADATA_FILE).exists():
            raise DatasetError(
                f"{self.directory} already holds a data set; give another directory, or remove this one first"
            )
        self._layout = layout
        self._has_tokens = token_grid is not None
        self._metadata = DatasetMetadata(
            num_shards=0,
            hz=FRAME_RATE_HZ,
            num_images=0,
            token_grid=DEFAULT_TOKEN_GRID if token_grid is None else token_grid,
            image_size=image_size,
            tokenizer=tokenizer,
            robot=robot,
            extra=dict(extra or {}),
        )

    def write_shard(
        self,
        index: int,
        *,
        states: Float32Array,
        segments: Int32Array,
        tokens: Int32Array | None = None,
        frames: UInt8Array | None = None,
        poses: Float32Array | None = None,
        damaged_frames: int = 0,
    ) -> None:
        """Writes one shard, all of its files or none, and replaces an earlier version of it.

        Args:
            index: the shard's number, counted from 0.
            states: float32 [N, 25], the measured action numbers of each frame.
            segments: int32 [N], the segment of each frame.
            tokens: int32 [ceil(N / 17), 3, h, w], if and only if the writer has a token grid.
            frames: uint8 [N, H, W, 3], if and only if the writer has an image size.
            poses: float32 [N, 3], true base pose of each frame: x (m), y (m), yaw (rad).
            damaged_frames: number of frames that could not be decoded, for the metadata.

        Raises:
            InvalidInputError: an array is missing, not declared, not finite, or has the wrong shape or type.
            SavingError: the shard could not be written.
        """
        checked("the shard index", index, CountOrZero)
        if len(states) == 0:
            raise InvalidInputError("a shard needs at least one frame, got states of length 0")
        _check_declared("tokens", tokens is not None, "token_grid", self._has_tokens)
        _check_declared("frames", frames is not None, "image_size", self._metadata.image_size is not None)
        given: dict[ShardFile, npt.NDArray[np.generic] | None] = {
            ShardFile.STATES: states,
            ShardFile.SEGMENTS: segments,
            ShardFile.TOKENS: tokens,
            ShardFile.FRAMES: frames,
            ShardFile.POSES: poses,
        }
        arrays = {
            file: _checked(file, array, file.shape(len(states), self._metadata))
            for file, array in given.items()
            if array is not None
        }
        paths = {file: file.path(self.directory, self._layout, index) for file in (*given, ShardFile.METADATA)}
        metadata = paths[ShardFile.METADATA]
        for file in given.keys() - arrays.keys():
            if paths[file].exists():
                # Without its metadata, the shard counts as not written.
                metadata.unlink(missing_ok=True)
                paths[file].unlink()
        contents = [(paths[file], array.data.cast("B")) for file, array in arrays.items()]
        described = shard_metadata(index=index, num_frames=len(states), damaged_frames=damaged_frames)
        write_files([*contents, (metadata, described)])

    def has_shard(self, index: int) -> bool:
        """Returns whether a shard has been written, by this writer or by an earlier one that was interrupted."""
        return ShardFile.METADATA.path(self.directory, self._layout, index).exists()

    def finish(self, num_shards: int | None = None) -> DatasetMetadata:
        """Writes `metadata.json`, which completes the data set; it contains the damaged frames of each shard.

        Args:
            num_shards: number of shards that the caller wrote, to detect the remains of an interrupted write.

        Raises:
            DatasetError: there is no shard, the indices have gaps, or the number of shards is not `num_shards`.
        """
        folder = ShardFile.METADATA.path(self.directory, self._layout, 0).parent
        found = len(list(folder.glob("metadata_*.json")))
        if found == 0 or num_shards not in (None, found):
            raise DatasetError(
                f"{self.directory}: expected {num_shards or 'at least 1'} shards, found {found}; write the missing "
                "ones, or remove the directory if it holds the remains of an interrupted write"
            )
        shards = [ShardFile.METADATA.path(self.directory, self._layout, index) for index in range(found)]
        num_frames = sum(read_shard_metadata(path) for path in shards)
        damaged = {str(index): count for index, path in enumerate(shards) if (count := read_damaged_frames(path))}
        extra = {**self._metadata.extra, **({"damaged_frames": damaged} if damaged else {})}
        metadata = replace(self._metadata, num_shards=found, num_images=num_frames, extra=extra)
        write_metadata(self.directory, metadata)
        return metadata


def _check_declared(name: str, is_given: bool, option: str, is_declared: bool) -> None:
    if is_given != is_declared:
        raise InvalidInputError(
            f"{name} must be given for every shard if and only if the writer was created with {option}; "
            f"{name} {'given' if is_given else 'missing'}, {option} {'set' if is_declared else 'not set'}"
        )


def _checked(file: ShardFile, array: npt.NDArray[np.generic], shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """Returns the array as it is written to disk, after checking its shape, type and values."""
    name = file.name.lower()
    if array.shape != shape:
        raise InvalidInputError(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    if array.dtype != file.dtype:
        raise InvalidInputError(f"{name}: expected {file.dtype.name}, got {array.dtype}")
    if file.dtype.kind == "f" and not np.isfinite(np.asarray(array, np.float32)).all():
        raise InvalidInputError(f"{name}: every number must be finite, got NaN or infinity")
    return np.ascontiguousarray(array)
