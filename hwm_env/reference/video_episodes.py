"""Recordings of the reference world as videos beside tables of states, like those of users with other robots."""

import io
from pathlib import Path
from typing import Final

import numpy as np

from hwm_env.data.files import check_empty, check_writable, write_files
from hwm_env.data.row_times import DEFAULT_TIME_COLUMN
from hwm_env.data.state_tables import POSE_NAMES
from hwm_env.data.videos import encode_video
from hwm_env.errors import require_extra
from hwm_env.reference.behaviour import Behaviour
from hwm_env.reference.collect import EpisodeJob, RecordedEpisode, check_collection, episode_jobs, record_job, run_jobs
from hwm_env.reference.supervision import SignOfLife
from hwm_env.types import ACTION_NAMES, FRAME_RATE_HZ

_FORMATS: Final = ["%.9f"] + ["%.9g"] * (len(ACTION_NAMES) + len(POSE_NAMES))
"""Times to the nanosecond; nine digits restore a float32 exactly."""


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
    so that they need no mapping. A video is written only after its table. Workers are replaced as in `collect`.

    Args:
        directory: destination; new or empty.
        num_episodes: number of episodes, at least 1.
        seed: as in `collect`.
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
        HWMError: the workers failed whatever was tried.
    """
    check_collection(num_episodes, seed, clips_per_episode, workers, behaviour)
    check_empty(directory)
    check_writable(directory / "episode_00000.csv")
    require_extra("av", "data")
    jobs = episode_jobs(num_episodes, seed, split, clips_per_episode, image_size, behaviour)

    def keep(number: int, files: tuple[bytes, bytes]) -> None:
        table, video = files
        stem = directory / f"episode_{number:05d}"
        write_files([(stem.with_suffix(".csv"), table), (stem.with_suffix(".mp4"), video)])

    run_jobs(_record, jobs, workers, keep)


def _record(job: EpisodeJob, alive: SignOfLife) -> tuple[bytes, bytes]:
    """Records one episode and returns the contents of its table and of its video."""
    episode = record_job(job, alive)
    return _table(episode), bytes(encode_video(episode.frames, after_frame=alive))


def _table(episode: RecordedEpisode) -> bytes:
    times_s = np.arange(len(episode.states)) / FRAME_RATE_HZ
    text = io.StringIO()
    header = ",".join((DEFAULT_TIME_COLUMN, *ACTION_NAMES, *POSE_NAMES))
    rows = np.column_stack([times_s, episode.states, episode.poses])
    np.savetxt(text, rows, _FORMATS, ",", header=header, comments="")
    return text.getvalue().encode()
