"""The 1X v2.0 disk format: folder names, file names, types and metadata.

A data set is a directory with a `metadata.json`. Each shard i has its own `metadata_{i}.json` and flat, headerless,
little-endian arrays:

| file                | dtype, shape                       | content                                                |
| ------------------- | ---------------------------------- | ------------------------------------------------------ |
| states_{i}.bin      | float32 [frames, 25]               | measured action numbers                                |
| segment_idx_{i}.bin | int32 [frames]                     | segment of each frame                                  |
| video_{i}.bin       | int32 [ceil(frames / 17), 3, h, w] | tokens; optional in our own recordings                 |
| frames_{i}.bin      | uint8 [frames, H, W, 3]            | raw images; ours, optional                             |
| poses_{i}.bin       | float32 [frames, 3]                | true base pose x (m), y (m), yaw (rad); ours, optional |

The training split keeps each kind of file in its own folder; the validation split keeps all files in one folder. So
does the test split, whose shards are single samples: a shard has no segment file, since it is one segment, and its
tokens may end before its states. A test split may lack metadata; the number and length of its shards then follow from
its files.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from annotated_types import Ge, Len

from hwm_env.data.files import json_bytes, read_json, shown, what_is_at, write_json
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.fields import Positive, checked
from hwm_env.robot import EVE, Robot
from hwm_env.types import ACTION_DIM, FRAME_RATE_HZ, FRAMES_PER_CLIP, LATENTS_PER_CLIP

METADATA_FILE: Final = "metadata.json"
DEFAULT_TOKEN_GRID: Final = (32, 32)
MAX_SAMPLE_FRAMES: Final = 1800
"""One minute: a longer shard without a segment file is not a sample of a test split; its segment file was lost."""


class Layout(Enum):
    """How a directory arranges its shard files."""

    TRAIN = "train"
    """One folder for each kind of file."""
    FLAT = "flat"
    """All files in one folder, as in the validation split."""
    TEST = "test"
    """All files in one folder, each shard one sample without a segment file, as in the test split."""

    @property
    def required(self) -> "tuple[ShardFile, ...]":
        """The arrays that every shard must have."""
        return (ShardFile.STATES, ShardFile.TOKENS if self is Layout.TEST else ShardFile.SEGMENTS)


class ShardFile(Enum):
    """The kinds of file of a shard: (folder in the train layout, file name with the shard's index, dtype)."""

    METADATA = ("metadata", "metadata_{}.json", "")
    STATES = ("robot_states", "states_{}.bin", "<f4")
    SEGMENTS = ("segment_indices", "segment_idx_{}.bin", "<i4")
    TOKENS = ("videos", "video_{}.bin", "<i4")
    FRAMES = ("frames", "frames_{}.bin", "|u1")
    POSES = ("poses", "poses_{}.bin", "<f4")

    @property
    def folder(self) -> str:
        """The folder that holds this kind of file in the train layout."""
        return self.value[0]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The data type of the elements on disk."""
        return np.dtype(self.value[2])

    def path(self, directory: Path, layout: Layout, index: int) -> Path:
        """Returns the path of this file of shard `index`."""
        folder = directory / self.folder if layout is Layout.TRAIN else directory
        return folder / self.value[1].format(index)

    def indices(self, directory: Path, layout: Layout) -> list[int]:
        """Returns the indices of the shards that have this kind of file, in no particular order."""
        prefix, suffix = self.value[1].split("{}")
        folder = self.path(directory, layout, 0).parent
        numbers = (path.name[len(prefix) : -len(suffix)] for path in folder.glob(f"{prefix}*{suffix}"))
        return [int(number) for number in numbers if number.isdecimal()]

    def shape(self, num_frames: int, metadata: "DatasetMetadata") -> tuple[int, ...]:
        """Returns the shape of this array in a shard of `num_frames` frames."""
        match self:
            case ShardFile.STATES:
                return (num_frames, ACTION_DIM)
            case ShardFile.SEGMENTS:
                return (num_frames,)
            case ShardFile.TOKENS:
                return (-(-num_frames // FRAMES_PER_CLIP), LATENTS_PER_CLIP, *metadata.token_grid)
            case ShardFile.POSES:
                return (num_frames, 3)
            case ShardFile.FRAMES:
                assert metadata.image_size is not None, "raw images without an image size"
                return (num_frames, *metadata.image_size, 3)
            case ShardFile.METADATA:
                raise AssertionError("a shard's metadata is JSON, not an array")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetMetadata:
    """The content of a data set's `metadata.json`."""

    num_shards: int
    """Number of shards."""
    hz: float
    """Frames a second."""
    num_images: int
    """Frames in all shards together."""
    token_grid: tuple[int, int] = DEFAULT_TOKEN_GRID
    """Rows and columns of a latent's token grid; meaningless without tokens."""
    image_size: tuple[int, int] | None = None
    """Height and width of the raw images in pixels; `None` without raw images."""
    tokenizer: str | None = None
    """Identity of the tokenizer that made the tokens; `None` if unknown, as in files from 1X."""
    robot: Robot = EVE
    """The robot, whose joints the 25 numbers carry."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """All other keys, unchanged (provenance such as "split" and "seed")."""

    def to_json(self) -> dict[str, object]:
        """Returns the content of `metadata.json`; keys beyond the 1X format only if they differ from its defaults."""
        ours: dict[str, object] = {}
        if self.token_grid != DEFAULT_TOKEN_GRID:
            ours["token_grid"] = list(self.token_grid)
        if self.image_size is not None:
            ours["image_size"] = list(self.image_size)
        if self.tokenizer is not None:
            ours["tokenizer"] = self.tokenizer
        if self.robot != EVE:
            ours["robot"] = self.robot.to_json()
        return {**self.extra, "num_shards": self.num_shards, "hz": self.hz, "num_images": self.num_images, **ours}

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> "DatasetMetadata":
        """Creates the metadata from the content of `metadata.json`.

        Raises:
            DatasetError: a key is missing or its value is invalid.
        """
        rest = dict(content)
        token_grid, image_size = _size(rest, "token_grid"), _size(rest, "image_size")
        return cls(
            hz=_value(rest, "hz", Positive),
            num_shards=_value(rest, "num_shards", _Number),
            num_images=_value(rest, "num_images", _Number),
            token_grid=token_grid or DEFAULT_TOKEN_GRID,
            image_size=image_size,
            tokenizer=_value(rest, "tokenizer", str | None),
            robot=_robot(rest),
            extra=rest,
        )


_Number = Annotated[int, Ge(0)]
_Sides = Annotated[list[Annotated[int, Ge(1)]], Len(2, 2)]
"""Height and width."""


def _value(content: dict[str, object], key: str, kind: Any) -> Any:
    try:
        return checked(f'"{key}"', content.pop(key, None), kind)
    except InvalidInputError as error:
        raise DatasetError(str(error)) from None


def _robot(content: dict[str, object]) -> Robot:
    try:
        return Robot.read(content.pop("robot")) if "robot" in content else EVE
    except InvalidInputError as error:
        raise DatasetError(str(error)) from None


def _size(content: dict[str, object], key: str) -> tuple[int, int] | None:
    size = _value(content, key, _Sides | None)
    return size and (size[0], size[1])


def read_metadata(directory: Path) -> DatasetMetadata:
    """Reads a data set's `metadata.json`; for a test split without one, derives its content from the files.

    Raises:
        DatasetError: the directory does not exist, is not a finished data set, or its metadata cannot be read.
    """
    if not os.path.isdir(directory):
        raise DatasetError(f"expected a data set directory at {shown(directory)}, found {what_is_at(directory)}")
    path = directory / METADATA_FILE
    if not path.is_file():
        if detect_layout(directory) is Layout.TEST:
            frames = [read_num_frames(directory, Layout.TEST, i) for i in range(count_shards(directory, Layout.TEST))]
            return DatasetMetadata(num_shards=len(frames), hz=FRAME_RATE_HZ, num_images=sum(frames))
        splits = [inside.parent for inside in sorted(directory.glob(f"*/{METADATA_FILE}"))]
        if splits:
            raise DatasetError(
                f"{directory} is no data set itself, but holds {', '.join(split.name for split in splits)}; "
                f"give one of them, such as {splits[0]}"
            )
        raise DatasetError(
            f"{directory} has no {METADATA_FILE}: it is not a data set, or writing it was interrupted "
            f"({METADATA_FILE} is written last); write it again"
        )
    content = read_json(path)
    try:
        return DatasetMetadata.from_json(content)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def write_metadata(directory: Path, metadata: DatasetMetadata) -> None:
    """Writes `metadata.json` atomically; its presence marks a finished data set."""
    write_json(directory / METADATA_FILE, metadata.to_json())


def read_shard_metadata(path: Path) -> int:
    """Reads a shard's `metadata_{i}.json`.

    Returns:
        The shard's number of frames.

    Raises:
        DatasetError: the file is missing, or its number of frames is not positive.
    """
    content = read_json(path)
    try:
        num_frames: int = _value(content, "shard_num_frames", Annotated[int, Ge(1)])
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    return num_frames


def read_damaged_frames(path: Path) -> int:
    """Reads from `metadata_{i}.json` how many frames of a shard show a damaged or an earlier picture."""
    damaged = read_json(path).get("damaged_frames", 0)
    return damaged if isinstance(damaged, int) else 0


def shard_metadata(*, index: int, num_frames: int, damaged_frames: int = 0) -> bytes:
    """Returns the content of a shard's `metadata_{i}.json`; the key "damaged_frames" only if there are any."""
    ours = {"damaged_frames": damaged_frames} if damaged_frames else {}
    return json_bytes({"shard_num_frames": num_frames, "shard_ind": index, **ours})


def read_num_frames(directory: Path, layout: Layout, index: int) -> int:
    """Reads a shard's number of frames from its metadata or, in a test split without, from the size of its states.

    Raises:
        DatasetError: the file is missing, or its number of frames is not positive or too large for a test sample.
    """
    metadata = ShardFile.METADATA.path(directory, layout, index)
    if layout is not Layout.TEST:
        return read_shard_metadata(metadata)
    num_frames = read_shard_metadata(metadata) if metadata.exists() else _count_states(directory, index)
    if num_frames > MAX_SAMPLE_FRAMES:
        raise DatasetError(
            f"expected {ShardFile.SEGMENTS.path(directory, layout, index)}, found nothing; only the samples of a test "
            f"split, of at most {MAX_SAMPLE_FRAMES} frames, need none, and this shard has {num_frames}: copy it again"
        )
    return num_frames


def _count_states(directory: Path, index: int) -> int:
    path = ShardFile.STATES.path(directory, Layout.TEST, index)
    if not path.is_file():
        raise DatasetError(f"expected a file {path}, found {what_is_at(path)}; copy it again")
    frame_size, size = ACTION_DIM * ShardFile.STATES.dtype.itemsize, path.stat().st_size
    if size == 0 or size % frame_size:
        raise DatasetError(
            f"{path}: expected one or more frames of {frame_size} bytes each, got {size} bytes; "
            "the file was cut short: copy it again"
        )
    return size // frame_size


def detect_layout(directory: Path) -> Layout:
    """Detects the layout of an existing data set from its folders and files.

    It is `TRAIN` if one of the folders exists that every training split has, else `FLAT`, or `TEST` if there are tokens
    and no segment file at all.
    """
    folders = (directory / file.folder for file in (ShardFile.METADATA, ShardFile.STATES))
    if any(folder.is_dir() for folder in folders):
        return Layout.TRAIN
    has_tokens, has_segments = (
        bool(file.indices(directory, Layout.FLAT)) for file in (ShardFile.TOKENS, ShardFile.SEGMENTS)
    )
    return Layout.TEST if has_tokens and not has_segments else Layout.FLAT


def count_shards(directory: Path, layout: Layout) -> int:
    """Counts the shards by the highest index of a file of states or tokens; some may be incomplete."""
    indices = (file.indices(directory, layout) for file in (ShardFile.STATES, ShardFile.TOKENS))
    return 1 + max(chain((-1,), *indices))
