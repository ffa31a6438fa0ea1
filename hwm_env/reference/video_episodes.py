"""Recordings of the reference world as videos beside tables of states, like those of users with other robots."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hwm_env.data.files import check_writable, shown, what_is_at, write_files
from hwm_env.data.row_times import DEFAULT_TIME_COLUMN
from hwm_env.data.state_tables import POSE_NAMES
from hwm_env.data.videos import encode_video
from hwm_env.errors import DatasetError, require_extra
from hwm_env.reference.behaviour import Behaviour, operator_of
from hwm_env.reference.collect import RecordedEpisode, check_collection, episode_rng, record_episode, run_jobs
from hwm_env.reference.world import ReferenceWorld
from hwm_env.types import ACTION_NAMES, FRAME_RATE_HZ, FRAMES_PER_CLIP

_FORMATS: Final = ["%.9f"] + ["%.9g"] * (len(ACTION_NAMES) + len(POSE_NAMES))
"""Times to the nanosecond; nine digits restore a float32 exactly."""


@dataclass(frozen=True, slots=True)
class _EpisodeJob:
    """Arguments of a worker process that records one episode."""

    stem: Path
    """Path of its files without their suffixes."""
    number: int
    seed: int
    split: str
    num_frames: int
    image_size: int
    behaviour: Behaviour


def collect_videos(
    directory: Path,
    *,
    num_episodes: int,
    seed: int,
    split: str,
    clips_per_episode: int = 24,
    image_size: int = 64,
    workers: int = 2,
    behaviour: Behaviour = "teleoperator",
) -> None:
    """Records the episodes that `collect` records, as `episode_00000.mp4` and `episode_00000.csv` and so on.

    The tables have a row a frame: the time in seconds, the 25 numbers and the pose of the base under their own names,
    so that they need no mapping. A video is written only after its table.

    Args:
        directory: destination; new or empty.
        num_episodes: number of episodes, at least 1.
        seed: at least 0; equal seeds and splits give equal recordings on the same machine, whatever `workers` is.
        split: name such as "train" or "validation"; different splits share no episode.
        clips_per_episode: length of an episode in clips of 17 frames, at least 1.
        image_size: height and width of the images in pixels.
        workers: number of processes, at least 1.
        behaviour: as in `collect`.

    Raises:
        InvalidInputError: a number is out of range, or the behaviour is unknown.
        DatasetError: the directory is not empty, or is a file.
        MissingExtraError: PyAV is not installed.
        SavingError: a file could not be written.
        RenderingUnavailableError: there is no OpenGL on this machine.
    """
    check_collection(num_episodes, seed, clips_per_episode, workers, behaviour)
    if os.path.lexists(directory) and not (os.path.isdir(directory) and not any(directory.iterdir())):
        raise DatasetError(
            f"expected nothing or an empty directory at {shown(directory)}, found {what_is_at(directory)} that is not; "
            "give another directory, or remove this one first"
        )
    check_writable(directory / "episode_00000.csv")
    require_extra("av", "data")
    jobs = [
        _EpisodeJob(
            stem=directory / f"episode_{number:05d}",
            number=number,
            seed=seed,
            split=split,
            num_frames=clips_per_episode * FRAMES_PER_CLIP,
            image_size=image_size,
            behaviour=behaviour,
        )
        for number in range(num_episodes)
    ]
    run_jobs(_record, jobs, workers, num_episodes)


def _record(job: _EpisodeJob) -> int:
    """Records one episode and returns 1, the number of episodes."""
    with ReferenceWorld(job.image_size) as world:
        rng = episode_rng(job.seed, job.split, job.number)
        episode = record_episode(world, rng, job.num_frames, operator_of(job.behaviour, job.number))
    video = encode_video(episode.frames)
    write_files([(job.stem.with_suffix(".csv"), _table(episode)), (job.stem.with_suffix(".mp4"), video)])
    return 1


def _table(episode: RecordedEpisode) -> bytes:
    times_s = np.arange(len(episode.states)) / FRAME_RATE_HZ
    text = io.StringIO()
    header = ",".join((DEFAULT_TIME_COLUMN, *ACTION_NAMES, *POSE_NAMES))
    rows = np.column_stack([times_s, episode.states, episode.poses])
    np.savetxt(text, rows, _FORMATS, ",", header=header, comments="")
    return text.getvalue().encode()
