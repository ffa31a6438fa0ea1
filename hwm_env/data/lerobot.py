"""Reads the metadata of LeRobot data sets (v2.0, v2.1 and v3.0): where each episode's rows and pictures are."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from hwm_env.data.files import check_file, parse_json, read_bytes, read_json
from hwm_env.data.lerobot_features import Features
from hwm_env.errors import DatasetError, InvalidInputError, require_extra

INFO_FILE: Final = "meta/info.json"
EPISODES_FILE: Final = "meta/episodes.jsonl"
"""List of the episodes of a data set of version 2."""
EPISODES_FOLDER: Final = "meta/episodes"
"""Tables of the episodes of a data set of version 3."""
VERSIONS: Final = ("v2.0", "v2.1", "v3.0")
_CAMERA_PREFIX: Final = "observation.images."
_DEFAULT_CHUNK_SIZE: Final = 1000
_FIELD: Final = re.compile(r"\{(\w+)(?::0(\d)d)?\}")
_REMEDY: Final = "copy the data set again, or write it again with LeRobot"


class EpisodeVideo(NamedTuple):
    """Where the pictures of one camera are in a video."""

    path: Path
    start_s: float
    """Time of the episode's first picture in the file."""


@dataclass(frozen=True, slots=True)
class LeRobotEpisode:
    """Where an episode is."""

    index: int
    length: int
    """Number of rows, and of pictures of each camera."""
    table: Path
    """Parquet file, possibly with further episodes."""
    videos: Mapping[str, EpisodeVideo]
    """By camera; without the cameras whose pictures are in the table."""


@dataclass(frozen=True, slots=True)
class LeRobotLayout:
    """The metadata of a data set."""

    directory: Path
    version: str
    fps: float
    """Rows and pictures a second."""
    robot_type: str | None
    features: Features
    episodes: Mapping[int, LeRobotEpisode]
    """By their index, ascending."""

    @classmethod
    def read(cls, directory: Path) -> "LeRobotLayout":
        """Reads the metadata; tables and videos need not be there.

        Raises:
            DatasetError: a file is missing or damaged, lacks a field, or has an unknown version.
            MissingExtraError: pyarrow is needed and not installed.
        """
        path = directory / INFO_FILE
        check_file(path, DatasetError, "give the directory of a LeRobot data set, which has one")
        info = read_json(path)
        version = info.get("codebase_version")
        if version not in VERSIONS:
            raise DatasetError(
                f"{path}: codebase_version must be one of {', '.join(VERSIONS)}, got {version!r}; convert the data set "
                "with LeRobot"
            )
        fps = info.get("fps")
        if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e4:
            raise DatasetError(f"{path}: fps must be a number of rows a second above 0, got {fps!r}; correct it")
        features = Features.of(path, info.get("features"))
        rows = _rows_v3(directory, features.videos) if version == "v3.0" else _rows_v2(directory, info)
        episodes: dict[int, LeRobotEpisode] = {}
        for row in rows:
            episode = _episode(directory, info, row, features.videos)
            if episode.index in episodes:
                raise DatasetError(f"{directory}: its metadata list episode {episode.index} twice; {_REMEDY}")
            episodes[episode.index] = episode
        if not episodes:
            raise DatasetError(f"{directory}: its metadata list no episodes; {_REMEDY}")
        robot = info.get("robot_type")
        return cls(
            directory,
            version,
            float(fps),
            None if robot is None else str(robot),
            features,
            dict(sorted(episodes.items())),
        )

    def camera(self, name: str | None) -> str:
        """Returns the full name of a camera.

        Args:
            name: its name, with or without "observation.images."; `None` means the only one.

        Raises:
            InvalidInputError: there is no such camera, or several without a name.
            DatasetError: the data set has no cameras.
        """
        cameras, path = self.features.cameras, self.directory / INFO_FILE
        if not cameras:
            raise DatasetError(
                f"{path}: expected a feature of dtype 'video' or 'image', found none; give a data set with a camera"
            )
        if name is None and len(cameras) == 1:
            return cameras[0]
        for camera in cameras:
            if name in (camera, camera.removeprefix(_CAMERA_PREFIX)):
                return camera
        reason = "give a camera" if name is None else f"there is no camera {name!r}"
        raise InvalidInputError(f"{path}: {reason}; its cameras are {', '.join(cameras)}")

    def chosen(self, episodes: Sequence[int] | None) -> list[LeRobotEpisode]:
        """Returns some episodes; all with `None`.

        Raises:
            InvalidInputError: `episodes` is empty, repeats an index, or names one that does not exist.
        """
        if episodes is None:
            return list(self.episodes.values())
        unknown = [index for index in episodes if index not in self.episodes]
        if unknown or not episodes or len(set(episodes)) != len(episodes):
            known = list(self.episodes)
            raise InvalidInputError(
                f"episodes: expected different indices of the {len(known)} episodes of {self.directory} ({known[0]} to "
                f"{known[-1]}), got {', '.join(map(str, episodes)) or 'none'}"
            )
        return [self.episodes[index] for index in episodes]


def _rows_v2(directory: Path, info: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the fields of each episode of a data set of version 2."""
    path = directory / EPISODES_FILE
    chunk_size = info.get("chunks_size", _DEFAULT_CHUNK_SIZE)
    if not isinstance(chunk_size, int) or chunk_size < 1:
        raise DatasetError(f"{path.parent / 'info.json'}: chunks_size must be at least 1, got {chunk_size!r}")
    try:
        lines = read_bytes(path, DatasetError, _REMEDY).decode().splitlines()
        rows = [parse_json(line) for line in lines if line.strip()]
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON in each line ({error}); {_REMEDY}") from error
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DatasetError(f"{path}: line {number} is {json.dumps(row)[:80]}, expected an object; {_REMEDY}")
        index = _number(path, row, "episode_index")
        yield {**row, "_file": path, "_place": {"episode_index": index, "episode_chunk": index // chunk_size}}


def _rows_v3(directory: Path, videos: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the fields of each episode of a data set of version 3."""
    parquet = require_extra("pyarrow.parquet", "data")
    paths = sorted((directory / EPISODES_FOLDER).glob("*/*.parquet"))
    if not paths:
        raise DatasetError(f"expected tables of episodes in {directory / EPISODES_FOLDER}, found none; {_REMEDY}")
    wanted = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for camera in videos:
        wanted += [f"videos/{camera}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
    for path in paths:
        check_file(path, DatasetError, _REMEDY)
        try:
            # Statistics of each episode, which are most of the file, are not needed.
            rows = parquet.ParquetFile(str(path)).read(columns=wanted).to_pylist()
        except (ValueError, OSError, KeyError, TypeError, NotImplementedError) as error:
            reason = " ".join(str(error).split())
            raise DatasetError(f"{path} cannot be read as a table of episodes: {reason}; {_REMEDY}") from error
        for row in rows:
            place = {name: _number(path, row, f"data/{name}") for name in ("chunk_index", "file_index")}
            yield {**row, "_file": path, "_place": place}


def _episode(
    directory: Path, info: Mapping[str, Any], row: Mapping[str, Any], cameras: Sequence[str]
) -> LeRobotEpisode:
    path: Path = row["_file"]
    videos: dict[str, EpisodeVideo] = {}
    for camera in cameras:
        place, start_s = {**row["_place"], "video_key": camera}, 0.0
        if info["codebase_version"] == "v3.0":
            prefix = f"videos/{camera}/"
            place |= {name: _number(path, row, prefix + name) for name in ("chunk_index", "file_index")}
            start_s = _seconds(path, row, prefix + "from_timestamp")
        videos[camera] = EpisodeVideo(_located(directory, info, "video_path", place), start_s)
    length = _number(path, row, "length")
    if length < 1:
        raise DatasetError(f"{path}: length of episode {row['episode_index']} must be at least 1, got {length}")
    table = _located(directory, info, "data_path", row["_place"])
    return LeRobotEpisode(_number(path, row, "episode_index"), length, table, videos)


def _number(path: Path, row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise DatasetError(f"{path}: {name} must be a whole number of at least 0, got {value!r}; {_REMEDY}")
    return value


def _seconds(path: Path, row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise DatasetError(f"{path}: {name} must be a number of seconds of at least 0, got {value!r}; {_REMEDY}")
    return float(value)


def _located(directory: Path, info: Mapping[str, Any], field: str, values: Mapping[str, Any]) -> Path:
    """Returns a file's path by a pattern of info.json, such as "data/chunk-{chunk_index:03d}/file.parquet"."""
    path, pattern = directory / INFO_FILE, info.get(field)
    unknown = {name for name, _ in _FIELD.findall(str(pattern))} - set(values)
    if not isinstance(pattern, str) or unknown:
        raise DatasetError(f"{path}: {field} must be a pattern of {', '.join(values)}, got {pattern!r}; {_REMEDY}")
    name = _FIELD.sub(lambda match: str(values[match[1]]).zfill(int(match[2] or 0)), pattern)
    # A data set from elsewhere must not lead out of its directory.
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise DatasetError(f"{path}: {field} must lead to a file in the data set, got {pattern!r}")
    return directory / name
