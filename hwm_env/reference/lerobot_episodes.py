"""Recordings of the reference world as LeRobot data sets."""

from pathlib import Path
from typing import Final

from hwm_env.data.lerobot_writer import EncodedEpisode, LeRobotWriter, encode_episode
from hwm_env.errors import InvalidInputError
from hwm_env.reference.behaviour import Behaviour
from hwm_env.reference.collect import EpisodeJob, check_collection, episode_jobs, record_job, run_jobs
from hwm_env.reference.supervision import SignOfLife

_TASK: Final = "Move around in the room."


def collect_lerobot(
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
    """Records the episodes that `collect` records, as a LeRobot data set with true poses (see `LeRobotWriter`).

    Workers are replaced as in `collect`.

    Args:
        directory: destination; new or empty.
        num_episodes: number of episodes, at least 1.
        seed: as in `collect`.
        split: name such as "train" or "validation"; different splits share no episode.
        clips_per_episode: length of an episode in clips of 17 frames, at least 1.
        image_size: height and width of the images in pixels, an even number.
        workers: number of processes, at least 1.
        behaviour: as in `collect`.

    Raises:
        InvalidInputError: a number is out of range, or the behaviour is unknown.
        DatasetError: the directory is not empty, or is a file.
        MissingExtraError: PyAV or pyarrow is not installed.
        SavingError: a file could not be written.
        RenderingUnavailableError: there is no OpenGL on this machine.
        HWMError: the workers failed whatever was tried.
    """
    check_collection(num_episodes, seed, clips_per_episode, workers, behaviour)
    if image_size % 2:
        raise InvalidInputError(f"image_size must be even, as videos need it, got {image_size}")
    writer = LeRobotWriter(directory, _TASK)
    jobs = episode_jobs(num_episodes, seed, split, clips_per_episode, image_size, behaviour)
    run_jobs(_record, jobs, workers, lambda number, episode: writer.add(episode))
    writer.finish()


def _record(job: EpisodeJob, alive: SignOfLife) -> EncodedEpisode:
    episode = record_job(job, alive)
    # All episodes are of one length.
    first_row = job.number * job.num_frames
    return encode_episode(job.number, first_row, episode.frames, episode.states, episode.poses, alive)
