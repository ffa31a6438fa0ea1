"""Turns recordings of images into data sets of tokens: in parallel, and on from where it was stopped."""

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
from hwm_env.tokenizers.sources import Job, Source, recording_source, video_source
from hwm_env.types import FRAMES_PER_CLIP, Int32Array, UInt8Array
from hwm_env.workers import run_in_processes

MANIFEST: Final = "tokenizing.json"
"""Says what an unfinished data set is made of; gone when it is finished."""
CLIPS_AT_ONCE: Final = 16
MAX_BYTES: Final = 2**28
"""Of the pictures that are encoded at once, if they are more than a clip."""


def tokenize_recordings(
    recordings: Path,
    out: Path,
    load_tokenizer: Callable[[], VideoTokenizer],
    offsets: Sequence[int] = (0,),
    *,
    mapping: StateMapping | None = None,
    image_size: int | None = None,
    workers: int = 1,
    device: str | torch.device = "cpu",
) -> None:
    """Writes a v2.0 data set with tokens, states, segments and (where recorded) poses.

    Each shard of a recording, or each video, becomes one shard for each offset: from frame `offset` on, so that the
    same motion is cut into clips in several ways. A last clip that is not whole is filled up with its last frame; clips
    that span two segments are encoded as they come, and left out by whoever reads windows. Killed at any moment and
    called again, it goes on with the shards that are missing.

    Args:
        recordings: data set with raw images, or a directory of videos beside states (see `video_source`).
        out: new directory for the tokens.
        load_tokenizer: makes what encodes the clips, on `device`, in each process; it must be picklable where there are
            several.
        offsets: frames to leave out at the beginning, one pass over the recordings for each.
        mapping: what the columns of the states beside videos mean.
        image_size: height and width to crop and resize videos to; None: as they are.
        workers: processes; 1: this one.
        device: where to encode.

    Raises:
        InvalidInputError: offsets, image size or mapping that do not fit, or options that are for videos only; or
            there is no such device.
        DatasetError: the recordings cannot be read, their size is no multiple of the tokenizer's compression, or `out`
            already holds a data set, finished or of something else.
    """
    checked("workers", workers, Count)
    device = check_device(device)
    if os.path.exists(out / MANIFEST) and (out / METADATA_FILE).exists():
        # All was written but the last word.
        (out / MANIFEST).unlink()
        return
    source = _open(recordings, offsets, mapping, image_size)
    tokenizer = load_tokenizer()
    grid = _grid(recordings, source.image_size, tokenizer)
    sources = [job.source for job in source.jobs]
    writer = DatasetWriter(
        out,
        token_grid=grid,
        tokenizer=tokenizer.identity,
        extra={**source.extra, "frame_offsets": list(offsets), "shard_sources": sources},
    )
    _claim(writer, {"tokenizer": tokenizer.identity, "offsets": list(offsets), **source.fingerprint})
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


def _open(recordings: Path, offsets: Sequence[int], mapping: StateMapping | None, image_size: int | None) -> Source:
    if not os.path.isdir(recordings):
        raise DatasetError(
            f"expected a directory with a recording or with videos at {shown(recordings)}, found "
            f"{what_is_at(recordings)}"
        )
    if not (recordings / METADATA_FILE).exists():
        for path in recordings.iterdir():
            if path.exists() and not path.is_dir() and not path.name.startswith("."):
                # Whoever opened a pipe would wait for somebody to write into it.
                check_file(path, DatasetError, "remove it from the recordings")
        return video_source(recordings, offsets, mapping or StateMapping(), image_size)
    if mapping is not None or image_size is not None:
        raise InvalidInputError(
            f"{recordings} is a recording with states and an image size of its own; leave out mapping and image size"
        )
    return recording_source(recordings, offsets)


def _grid(recordings: Path, size: tuple[int, int], tokenizer: VideoTokenizer) -> tuple[int, int]:
    """Rows and columns of the token grid."""
    compression = tokenizer.spatial_compression
    if size[0] % compression or size[1] % compression:
        raise DatasetError(
            f"{recordings}: expected images with sides that are multiples of {compression}, got {size[0]} x {size[1]}; "
            "give an image size for videos, or record it again with another one"
        )
    return size[0] // compression, size[1] // compression


def _claim(writer: DatasetWriter, content: dict[str, object]) -> None:
    """Notes what is being made, or makes sure that the remains of an earlier call are of the same.

    Raises:
        DatasetError: they are of something else.
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
    """Tokens int32 [ceil(N / 17), 3, h, w] of N frames."""
    batches = []
    first = next(frames)
    clips_at_once = max(1, min(CLIPS_AT_ONCE, MAX_BYTES // (FRAMES_PER_CLIP * first.nbytes)))
    frames = chain([first], frames)
    while part := list(islice(frames, clips_at_once * FRAMES_PER_CLIP)):
        clips = torch.from_numpy(_whole_clips(np.stack(part))).to(device)
        batches.append(tokenizer.encode(clips).cpu().numpy())
    return np.concatenate(batches)


def _whole_clips(frames: UInt8Array) -> UInt8Array:
    """Frames uint8 [N, H, W, 3] as clips [ceil(N / 17), 17, H, W, 3], the last frame repeated where needed."""
    missing = -len(frames) % FRAMES_PER_CLIP
    padded = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    return padded.reshape(-1, FRAMES_PER_CLIP, *frames.shape[1:])


@dataclass(frozen=True, slots=True)
class _ShardJob:
    """All that a worker process needs to make one shard."""

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
