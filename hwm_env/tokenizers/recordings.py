"""Tokenises recordings, in several processes if requested; an interrupted call can be resumed."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from hwm_env.data.files import check_file, read_json, shown, what_is_at, write_json
from hwm_env.data.format import METADATA_FILE
from hwm_env.data.state_tables import StateMapping
from hwm_env.data.writer import DatasetWriter
from hwm_env.devices import check_device
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.fields import Count, checked
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.tokenizers.lerobot_source import is_lerobot, lerobot_source
from hwm_env.tokenizers.sources import Job, Source, recording_source
from hwm_env.tokenizers.video_source import video_source
from hwm_env.types import FRAMES_PER_CLIP, Int32Array, UInt8Array
from hwm_env.workers import run_in_processes

MANIFEST: Final = "tokenizing.json"
"""Describes the sources of an unfinished data set; removed when the data set is finished."""
CLIPS_AT_ONCE: Final = 16
MAX_BYTES: Final = 2**28
"""Maximum size of the pictures that are encoded together, unless one clip is larger."""


def tokenize_recordings(
    recordings: Path,
    out: Path,
    load_tokenizer: Callable[[], VideoTokenizer],
    offsets: Sequence[int] = (0,),
    *,
    mapping: StateMapping | None = None,
    image_size: int | None = None,
    camera: str | None = None,
    episodes: Sequence[int] | None = None,
    workers: int = 1,
    device: str | torch.device = "cpu",
) -> None:
    """Writes a v2.0 data set with tokens, states, segments and, if recorded, poses.

    Each shard of a recording, each video, or each episode of a LeRobot data set becomes one shard for each offset,
    which begins at frame `offset`, so that the same motion is cut into clips in several ways. A partial last clip is
    padded with its last frame. Clips that span two segments are encoded too; windows leave them out. A call that was
    killed at any time can be repeated: it continues with the missing shards.

    Args:
        recordings: data set with raw images, a directory of videos beside states (see `video_source`), or a LeRobot
            data set (see `lerobot_source`).
        out: new directory for the tokens.
        load_tokenizer: returns the tokenizer on `device`; called in each process, and picklable if there are several.
        offsets: frames to leave out at the beginning, one pass over the recordings for each.
        mapping: meaning of the columns of the states.
        image_size: height and width to which videos are cropped and resized; `None` leaves them unchanged.
        camera: camera of a LeRobot data set; `None` means the only one.
        episodes: episodes of a LeRobot data set; `None` means all.
        workers: number of processes; 1 means this process.
        device: device to encode on.

    Raises:
        InvalidInputError: an option is invalid, or not valid for this kind of recordings, or there is no such device.
        DatasetError: the recordings cannot be read, their size is not a multiple of the tokenizer's compression, or
            `out` already contains a finished data set or an unfinished one of other recordings.
    """
    checked("workers", workers, Count)
    device = check_device(device)
    if os.path.exists(out / MANIFEST) and (out / METADATA_FILE).exists():
        # An earlier call finished the data set, but was killed before it removed the manifest.
        (out / MANIFEST).unlink()
        return
    source = _open(recordings, offsets, mapping, image_size, camera, episodes)
    tokenizer = load_tokenizer()
    grid = _grid(recordings, source.image_size, tokenizer)
    sources = [job.source for job in source.jobs]
    writer = DatasetWriter(
        out,
        token_grid=grid,
        tokenizer=tokenizer.token_identity,
        robot=source.robot,
        extra={**source.extra, "frame_offsets": list(offsets), "shard_sources": sources},
    )
    _claim(writer, {"tokenizer": tokenizer.token_identity, "offsets": list(offsets), **source.fingerprint})
    todo = [(index, job) for index, job in enumerate(source.jobs) if not writer.has_shard(index)]
    with tqdm(total=len(source.jobs), initial=len(source.jobs) - len(todo), desc="tokenize", unit="shard") as progress:
        if workers == 1 or not todo:
            for index, job in todo:
                _make_shard(writer, index, job, tokenizer, device)
                progress.update()
        else:
            jobs = [_ShardJob(writer, index, job, device) for index, job in todo]
            threads = max(1, (os.cpu_count() or 1) // min(workers, len(todo)))
            for _ in run_in_processes(_make_in_worker, jobs, workers, _start_worker, (load_tokenizer, threads)):
                progress.update()
    writer.finish(len(source.jobs))
    (out / MANIFEST).unlink()


def _open(
    recordings: Path,
    offsets: Sequence[int],
    mapping: StateMapping | None,
    image_size: int | None,
    camera: str | None,
    episodes: Sequence[int] | None,
) -> Source:
    if not os.path.isdir(recordings):
        raise DatasetError(
            f"expected a directory with a recording or with videos at {shown(recordings)}, found "
            f"{what_is_at(recordings)}"
        )
    if is_lerobot(recordings):
        return lerobot_source(recordings, offsets, mapping or StateMapping(), image_size, camera, episodes)
    if camera is not None or episodes is not None:
        raise InvalidInputError(f"{recordings} is not a LeRobot data set; leave out camera and episodes")
    if not (recordings / METADATA_FILE).exists():
        for path in recordings.iterdir():
            if path.exists() and not path.is_dir() and not path.name.startswith("."):
                # Opening a pipe would wait for a writer.
                check_file(path, DatasetError, "remove it from the recordings")
        return video_source(recordings, offsets, mapping or StateMapping(), image_size)
    if mapping is not None or image_size is not None:
        raise InvalidInputError(
            f"{recordings} is a recording, which has states and an image size; leave out mapping and image size"
        )
    return recording_source(recordings, offsets)


def _grid(recordings: Path, size: tuple[int, int], tokenizer: VideoTokenizer) -> tuple[int, int]:
    """Returns the rows and columns of the token grid."""
    compression = tokenizer.spatial_compression
    if size[0] % compression or size[1] % compression:
        raise DatasetError(
            f"{recordings}: expected images with sides that are multiples of {compression}, got {size[0]} x {size[1]}; "
            "set an image size for videos, or record again with another one"
        )
    return size[0] // compression, size[1] // compression


def _claim(writer: DatasetWriter, content: dict[str, object]) -> None:
    """Writes the manifest, or checks that the one of an interrupted call is the same.

    Raises:
        DatasetError: the directory contains something else.
    """
    path = writer.directory / MANIFEST
    if not path.exists():
        if writer.directory.exists() and any(writer.directory.iterdir()):
            raise DatasetError(f"{writer.directory} is not empty; give another directory, or remove this one first")
        write_json(path, content)
        return
    found = read_json(path)
    differing = sorted(key for key in found.keys() | content.keys() if found.get(key) != content.get(key))
    if differing:
        raise DatasetError(
            f"{writer.directory} holds an unfinished data set that was begun with other {', '.join(differing)}; give "
            "another directory, or remove this one first"
        )


def _make_shard(
    writer: DatasetWriter, index: int, job: Job, tokenizer: VideoTokenizer, device: str | torch.device
) -> None:
    recording = job.read()
    tokens = _encode(recording.frames, tokenizer, device)
    writer.write_shard(
        index,
        states=recording.states,
        segments=recording.segments,
        tokens=tokens,
        poses=recording.poses,
        damaged_frames=recording.damage.num_frames,
    )


def _encode(frames: Iterator[UInt8Array], tokenizer: VideoTokenizer, device: str | torch.device) -> Int32Array:
    """Encodes N frames to tokens int32 [ceil(N / 17), 3, h, w]."""
    batches = []
    first = next(frames)
    clips_at_once = max(1, min(CLIPS_AT_ONCE, MAX_BYTES // (FRAMES_PER_CLIP * first.nbytes)))
    frames = chain([first], frames)
    while part := list(islice(frames, clips_at_once * FRAMES_PER_CLIP)):
        clips = torch.from_numpy(_whole_clips(np.stack(part))).to(device)
        batches.append(tokenizer.encode(clips).cpu().numpy())
    return np.concatenate(batches)


def _whole_clips(frames: UInt8Array) -> UInt8Array:
    """Cuts frames uint8 [N, H, W, 3] into clips [ceil(N / 17), 17, H, W, 3], repeating the last frame if needed."""
    missing = -len(frames) % FRAMES_PER_CLIP
    padded = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    return padded.reshape(-1, FRAMES_PER_CLIP, *frames.shape[1:])


@dataclass(frozen=True, slots=True)
class _ShardJob:
    """The arguments with which a worker process makes one shard."""

    writer: DatasetWriter
    index: int
    job: Job
    device: str | torch.device


_worker_tokenizer: VideoTokenizer | None = None


def _start_worker(load_tokenizer: Callable[[], VideoTokenizer], threads: int) -> None:
    global _worker_tokenizer
    torch.set_num_threads(threads)
    _worker_tokenizer = load_tokenizer()


def _make_in_worker(shard: _ShardJob) -> None:
    assert _worker_tokenizer is not None, "the process was not started by _start_worker"
    _make_shard(shard.writer, shard.index, shard.job, _worker_tokenizer, shard.device)
