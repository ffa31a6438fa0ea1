"""LeRobot data sets in the published layouts of v2.1 and v3.0, written without hwm_env."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HEAD, WRIST = "observation.images.head", "observation.images.wrist"
NAMES = ("hip_yaw", "neck_pitch", "gripper")


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Rows of one episode; each frame of its videos is of one grey."""

    states: np.ndarray
    """float32 [N, D]."""
    greys: np.ndarray
    """uint8 [N] of the head camera; the wrist's are 255 less these."""


def counting(lengths: Sequence[int], fps: int = 30, size: int = 3) -> list[Episode]:
    """Episodes whose first number is the time in s, whose second is their index, and whose grey grows with the time."""
    episodes = []
    for index, length in enumerate(lengths):
        states = np.zeros((length, size), np.float32)
        states[:, 0] = np.arange(length) / fps
        states[:, 1] = index
        greys = (20 + 60 * index + 30 * np.arange(length) / fps).astype(np.uint8)
        episodes.append(Episode(states=states, greys=greys))
    return episodes


def write_video(path: Path, greys: np.ndarray, fps: int, size: tuple[int, int], codec: str) -> None:
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        # LeRobot puts a key frame every second frame; here they are rarer, so that seeking has something to skip.
        stream = container.add_stream(codec, rate=fps, options={"g": "12", "crf": "10"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for grey in greys:
            picture = np.full((*size, 3), grey, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def table_picture(grey: int, size: tuple[int, int]) -> np.ndarray:
    """Returns a picture for a table, uint8 [H, W, 3], a pattern whose first number is the grey."""
    y, x, channel = np.indices((*size, 3))
    return ((grey + 3 * x + 11 * y + 70 * channel) % 256).astype(np.uint8)


def encoded(picture: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    pytest.importorskip("PIL.Image").fromarray(picture).save(content, kind, **options)
    return content.getvalue()


def picture_column(
    directory: Path, camera: str, index: int, greys: np.ndarray, size: tuple[int, int], kind: str
) -> Any:
    """Returns the pictures of an episode as a column; with the kind "path", they are PNG files beside the tables."""
    arrow = pytest.importorskip("pyarrow")
    cells = []
    for row, grey in enumerate(greys):
        content = encoded(table_picture(int(grey), size), "PNG" if kind == "path" else kind)
        name = f"frame_{row:06d}.png"
        if kind == "path":
            name = f"images/{camera}/episode_{index:06d}/{name}"
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        cells.append({"bytes": None if kind == "path" else content, "path": name})
    return arrow.array(cells, arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())]))


def rows_of(index: int, episode: Episode, first: int, fps: int) -> dict[str, Any]:
    length = len(episode.states)
    return {
        "observation.state": episode.states.tolist(),
        "action": np.roll(episode.states, -1, axis=0).tolist(),
        "timestamp": (np.arange(length) / fps).astype(np.float32),
        "frame_index": np.arange(length),
        "episode_index": np.full(length, index),
        "index": first + np.arange(length),
        "task_index": np.zeros(length, np.int64),
    }


def write_table(path: Path, parts: Sequence[dict[str, Any]]) -> None:
    """Writes a table with a row group for each part, as LeRobot does."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = [arrow.table(part) for part in parts]
    with parquet.ParquetWriter(str(path), tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)


def info_of(
    version: str,
    episodes: Sequence[Episode],
    fps: int,
    names: object,
    cameras: Sequence[str],
    pictures: Sequence[str],
    size: tuple[int, int],
) -> dict[str, Any]:
    dimension = episodes[0].states.shape[1]
    features: dict[str, Any] = {
        name: {"dtype": "float32", "shape": [dimension], "names": names} for name in ("observation.state", "action")
    }
    for camera in cameras:
        features[camera] = {
            "dtype": "video",
            "shape": [16, 24, 3],
            "names": ["height", "width", "channels"],
            "info": {"video.fps": fps, "video.codec": "h264", "has_audio": False},
        }
    for camera in pictures:
        features[camera] = {"dtype": "image", "shape": [*size, 3], "names": ["height", "width", "channels"]}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    paths = {
        "v2.1": (
            "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        ),
        "v3.0": (
            "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        ),
    }[version]
    return {
        "codebase_version": version,
        "robot_type": "walker",
        "total_episodes": len(episodes),
        "total_frames": sum(len(episode.states) for episode in episodes),
        "total_tasks": 1,
        "chunks_size": 1000,
        "fps": fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": paths[0],
        "video_path": paths[1] if cameras else None,
        "features": features,
    }


def write_lerobot(
    directory: Path,
    version: str,
    episodes: Sequence[Episode],
    *,
    fps: int = 30,
    names: object = NAMES,
    cameras: Sequence[str] = (HEAD,),
    pictures: Mapping[str, str] | None = None,
    per_file: int = 2,
    size: tuple[int, int] = (16, 24),
    codec: str = "libx264",
) -> Path:
    """Writes a data set: v2.1 with a file for each episode, v3.0 with `per_file` episodes in a file.

    `cameras` are in videos, `pictures` in the tables, as "PNG", "JPEG" or "path".
    """
    names = list(names) if isinstance(names, tuple) else names
    pictures = {} if pictures is None else pictures
    info = info_of(version, episodes, fps, names, cameras, list(pictures), size)
    (directory / "meta").mkdir(parents=True)
    (directory / "meta/info.json").write_text(json.dumps(info))
    (directory / "meta/stats.json").write_text("{}")
    firsts = np.cumsum([0, *(len(episode.states) for episode in episodes)]).tolist()
    per_file = per_file if version == "v3.0" else 1
    rows: list[dict[str, Any]] = []
    for number, begin in enumerate(range(0, len(episodes), per_file)):
        numbers = range(begin, min(begin + per_file, len(episodes)))
        place = {"episode_chunk": 0, "episode_index": begin, "chunk_index": 0, "file_index": number}
        parts = [rows_of(index, episodes[index], firsts[index], fps) for index in numbers]
        for index, part in zip(numbers, parts, strict=True):
            for camera, kind in pictures.items():
                part[camera] = picture_column(directory, camera, index, episodes[index].greys, size, kind)
        write_table(directory / info["data_path"].format(**place), parts)
        greys = np.concatenate([episodes[index].greys for index in numbers])
        for camera in cameras:
            shown = greys if camera == HEAD else 255 - greys
            write_video(directory / info["video_path"].format(**place, video_key=camera), shown, fps, size, codec)
        for index in numbers:
            row: dict[str, Any] = {"episode_index": index, "tasks": ["walk"], "length": len(episodes[index].states)}
            if version == "v3.0":
                row |= {"data/chunk_index": 0, "data/file_index": number, "stats/action/min": [0.0]}
                row |= {"dataset_from_index": firsts[index], "dataset_to_index": firsts[index + 1]}
                for camera in cameras:
                    begin_s, end_s = ((firsts[index + i] - firsts[begin]) / fps for i in (0, 1))
                    row |= {f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": number}
                    row |= {f"videos/{camera}/from_timestamp": begin_s, f"videos/{camera}/to_timestamp": end_s}
            rows.append(row)
    if version == "v3.0":
        write_table(directory / "meta/episodes/chunk-000/file-000.parquet", [as_columns(rows)])
        write_table(directory / "meta/tasks.parquet", [{"task_index": [0], "__index_level_0__": ["walk"]}])
    else:
        (directory / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (directory / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "walk"}\n')
    return directory


def as_columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}
