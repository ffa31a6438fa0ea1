"""Writes LeRobot data sets, v3.0: a table and a video for each episode (pyarrow and PyAV, the extra "data")."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hwm_env.data.files import check_empty, check_writable, json_bytes, write_bytes, write_files
from hwm_env.data.lerobot import INFO_FILE
from hwm_env.data.lerobot_features import STATE
from hwm_env.data.lerobot_statistics import Statistics, combined, statistics_of, statistics_of_pictures
from hwm_env.data.state_tables import POSE_NAMES
from hwm_env.data.videos import encode_video
from hwm_env.errors import InvalidInputError, require_extra
from hwm_env.robot import EVE, Robot
from hwm_env.types import FRAME_RATE_HZ, POSE_DIM, Float32Array, UInt8Array

ACTION: Final = "action"
POSE: Final = "observation.base_pose"
HEAD: Final = "observation.images.head"
_FILES_PER_CHUNK: Final = 1000
_DATA_PATH: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO_PATH: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODE_PATH: Final = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_INDEX: Final = "__index_level_0__"
"""Column that pandas reads as the names of the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedEpisode:
    """The files of one episode, and their statistics."""

    index: int
    length: int
    """Number of frames."""
    image_size: tuple[int, int]
    table: bytes
    video: bytes
    statistics: Mapping[str, Statistics]
    """By feature."""


def encode_episode(
    index: int,
    first_row: int,
    frames: UInt8Array,
    states: Float32Array,
    poses: Float32Array | None = None,
    after_frame: Callable[[], object] = lambda: None,
) -> EncodedEpisode:
    """Returns the files of one episode.

    An action is what leads from its row to the next one: the next row's state (the last row repeats its own).

    Args:
        index: index of the episode.
        first_row: number of rows of all episodes before it.
        frames: uint8 [N, S, S, 3] at 30 Hz, with even sides.
        states: the values of the robot's joints in each frame, [N, J].
        poses: base x (m), y (m), yaw (rad) in each frame, [N, 3]; `None` if unknown.
        after_frame: called after each encoded frame.

    Raises:
        InvalidInputError: the shapes do not fit each other.
        MissingExtraError: PyAV or pyarrow is not installed.
    """
    length, shape = len(frames), frames.shape[1:]
    if states.ndim != 2 or len(states) != length or (poses is not None and poses.shape != (length, POSE_DIM)):
        raise InvalidInputError(
            f"expected states [{length}, J] and poses [{length}, {POSE_DIM}] for {length} frames, got "
            f"{list(states.shape)} and {None if poses is None else list(poses.shape)}"
        )
    if shape[0] % 2 or shape[1] % 2:
        raise InvalidInputError(f"frames: expected even sides, which videos need, got {shape[0]} x {shape[1]}")
    numbers = {STATE: states, ACTION: np.concatenate([states[1:], states[-1:]])}
    if poses is not None:
        numbers[POSE] = poses
    rows = np.arange(length)
    single: dict[str, npt.NDArray[Any]] = {
        "timestamp": (rows / FRAME_RATE_HZ).astype(np.float32),
        "frame_index": rows,
        "episode_index": np.full(length, index),
        "index": first_row + rows,
        "task_index": np.zeros(length, np.int64),
    }
    arrow = require_extra("pyarrow", "data")
    columns = {
        name: arrow.FixedSizeListArray.from_arrays(arrow.array(values.astype(np.float32).ravel()), values.shape[1])
        for name, values in numbers.items()
    }
    statistics = {name: statistics_of(values) for name, values in {**numbers, **single}.items()}
    statistics[HEAD] = statistics_of_pictures(frames)
    table = _parquet(arrow.table(columns | {name: arrow.array(values) for name, values in single.items()}))
    video = bytes(encode_video(frames, after_frame=after_frame))
    return EncodedEpisode(index, length, (shape[0], shape[1]), table, video, statistics)


class LeRobotWriter:
    """Writes one data set, episode by episode, in any order.

    The metadata appear last, with `finish`, which may be called again after further episodes. All episodes must have
    one image size, and either all or none poses.
    """

    def __init__(self, directory: Path, task: str, robot: Robot = EVE) -> None:
        """Prepares to write; creates nothing yet.

        Args:
            directory: destination; new or empty.
            task: what the robot does, in words; policies that read language are trained with it.
            robot: the robot, whose joints states and actions consist of.

        Raises:
            DatasetError: the directory is not empty, or is a file.
            MissingExtraError: PyAV or pyarrow is not installed.
            SavingError: the directory cannot be written to.
        """
        check_empty(directory)
        check_writable(directory / INFO_FILE)
        for module in ("av", "pyarrow"):
            require_extra(module, "data")
        self._directory, self._task, self._robot = directory, task, robot
        self._episodes: dict[int, tuple[int, Mapping[str, Statistics]]] = {}
        self._image_size = (0, 0)

    def add(self, episode: EncodedEpisode) -> None:
        """Writes the table and the video of an episode.

        Raises:
            InvalidInputError: its states are those of a robot with another number of joints.
            SavingError: a file could not be written; there is then no file of the episode.
        """
        given, expected = len(episode.statistics[STATE]["mean"]), len(self._robot.names)
        if given != expected:
            raise InvalidInputError(
                f"expected states [N, {expected}], the joints of {self._robot.name}, got [N, {given}]"
            )
        place = _place(episode.index)
        write_files(
            [
                (self._directory / _VIDEO_PATH.format(video_key=HEAD, **place), episode.video),
                (self._directory / _DATA_PATH.format(**place), episode.table),
            ]
        )
        self._episodes[episode.index] = episode.length, episode.statistics
        self._image_size = episode.image_size

    def finish(self) -> None:
        """Writes the metadata of the episodes so far, which must have the indices 0, 1 and so on.

        Raises:
            SavingError: a file could not be written.
        """
        assert sorted(self._episodes) == list(range(len(self._episodes))), f"{sorted(self._episodes)}"
        first_row = 0
        for index in range(len(self._episodes)):
            length, statistics = self._episodes[index]
            path = self._directory / _EPISODE_PATH.format(**_place(index))
            if not path.exists():
                write_bytes(path, _episode_row(index, first_row, length, statistics, self._task))
            first_row += length
        of_all = [self._episodes[index][1] for index in range(len(self._episodes))]
        total = {feature: combined([one[feature] for one in of_all]) for feature in of_all[0]}
        write_bytes(self._directory / "meta/tasks.parquet", _tasks(self._task))
        write_bytes(self._directory / "meta/stats.json", json_bytes(total))
        write_bytes(self._directory / INFO_FILE, json_bytes(self._info(first_row, POSE in total)))

    def _info(self, num_rows: int, has_poses: bool) -> dict[str, object]:
        height, width = self._image_size
        names = self._robot.names
        named = {STATE: names, ACTION: names} | ({POSE: POSE_NAMES} if has_poses else {})
        features: dict[str, object] = {
            name: {"dtype": "float32", "shape": [len(names)], "names": list(names)} for name, names in named.items()
        }
        features[HEAD] = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.channels": 3,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.fps": FRAME_RATE_HZ,
                "video.is_depth_map": False,
                "has_audio": False,
            },
        }
        features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
        for name in ("frame_index", "episode_index", "index", "task_index"):
            features[name] = {"dtype": "int64", "shape": [1], "names": None}
        return {
            "codebase_version": "v3.0",
            "robot_type": self._robot.name,
            "total_episodes": len(self._episodes),
            "total_frames": num_rows,
            "total_tasks": 1,
            "chunks_size": _FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": FRAME_RATE_HZ,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": _DATA_PATH,
            "video_path": _VIDEO_PATH,
            "features": features,
        }


def _place(index: int) -> dict[str, int]:
    """Returns the place of an episode's files; no two episodes share one."""
    return dict(zip(("chunk_index", "file_index"), divmod(index, _FILES_PER_CHUNK), strict=True))


def _parquet(table: Any) -> bytes:
    content = io.BytesIO()
    require_extra("pyarrow.parquet", "data").write_table(table, content)
    return content.getvalue()


def _episode_row(index: int, first_row: int, length: int, statistics: Mapping[str, Statistics], task: str) -> bytes:
    """Returns the table with the metadata of one episode."""
    place = _place(index)
    row: dict[str, object] = {
        "episode_index": index,
        "tasks": [task],
        "length": length,
        "dataset_from_index": first_row,
        "dataset_to_index": first_row + length,
        f"videos/{HEAD}/from_timestamp": 0.0,
        f"videos/{HEAD}/to_timestamp": length / FRAME_RATE_HZ,
    }
    for kind in ("data", f"videos/{HEAD}", "meta/episodes"):
        row |= {f"{kind}/{name}": value for name, value in place.items()}
    for feature, values in statistics.items():
        row |= {f"stats/{feature}/{name}": value for name, value in values.items()}
    return _parquet(require_extra("pyarrow", "data").table({name: [value] for name, value in row.items()}))


def _tasks(task: str) -> bytes:
    """Returns the table of the only task: a pandas frame whose rows are named by the tasks."""
    columns = (("task_index", "task_index", "int64", "int64"), (None, _INDEX, "unicode", "object"))
    keys = ("name", "field_name", "pandas_type", "numpy_type")
    about = {
        "index_columns": [_INDEX],
        "column_indexes": [],
        "columns": [dict(zip(keys, column, strict=True)) | {"metadata": None} for column in columns],
    }
    arrow = require_extra("pyarrow", "data")
    table = arrow.table({"task_index": arrow.array([0], arrow.int64()), _INDEX: [task]})
    return _parquet(table.replace_schema_metadata({"pandas": json.dumps(about)}))
