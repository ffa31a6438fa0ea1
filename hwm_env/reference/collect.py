"""Records seeded episodes of the reference world in parallel; the number of processes does not change them."""

import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from tqdm import tqdm

from hwm_env.data.files import shown
from hwm_env.data.format import METADATA_FILE, ShardFile
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from hwm_env.fields import Count, CountOrZero, checked
from hwm_env.reference.behaviour import Behaviour, Operator, Teleoperator, operator_of
from hwm_env.reference.world import ReferenceWorld
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, Float32Array, UInt8Array
from hwm_env.workers import run_in_processes

_Job = TypeVar("_Job")

EPISODES_PER_SHARD: Final = 10
_WARM_UP_FRAMES: Final = 60
"""Frames before the recording starts, so that episodes do not all start in the rest pose."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedEpisode:
    """One uninterrupted recording of N frames."""

    states: Float32Array
    """Measured numbers of each frame, [N, 25]."""
    frames: UInt8Array
    """Image after each frame's action, uint8 [N, S, S, 3]."""
    poses: Float32Array
    """True base pose of each frame: x (m), y (m), yaw (rad), [N, 3]."""


def episode_rng(seed: int, split: str, episode: int) -> np.random.Generator:
    """Returns the generator of one episode, independent of every other episode, split and seed."""
    key = (zlib.crc32(split.encode()), episode)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def record_episode(
    world: ReferenceWorld,
    rng: np.random.Generator,
    num_frames: int,
    make_operator: Callable[[np.random.Generator], Operator] = Teleoperator,
) -> RecordedEpisode:
    """Records an operator's actions from a random place.

    Args:
        world: the world, which is reset first.
        rng: generator of place and behaviour.
        num_frames: number of frames to record.
        make_operator: makes the operator from `rng`.
    """
    world.reset(rng)
    operator = make_operator(rng)
    for _ in range(_WARM_UP_FRAMES):
        world.step(operator.act(world.state))
    states = np.empty((num_frames, ACTION_DIM), np.float32)
    frames = np.empty((num_frames, world.image_size, world.image_size, 3), np.uint8)
    poses = np.empty((num_frames, 3), np.float32)
    for frame in range(num_frames):
        states[frame] = world.step(operator.act(world.state))
        frames[frame] = world.render()
        poses[frame] = world.state.base_pose
    return RecordedEpisode(states, frames, poses)


@dataclass(frozen=True, slots=True)
class _ShardJob:
    """Arguments of a worker process that writes one shard."""

    writer: DatasetWriter
    index: int
    episodes: range
    seed: int
    split: str
    frames_per_episode: int
    image_size: int
    behaviour: Behaviour


def collect(
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
    """Records a data set in the v2.0 layout, with raw frames and true poses but without tokens.

    Each episode is one segment, ten episodes are one shard. Worker processes are spawned, so a script that calls this
    needs the usual `if __name__ == "__main__":`.

    Args:
        directory: destination; new, empty, or with the remains of an interrupted collection.
        num_episodes: number of episodes, at least 1.
        seed: at least 0; equal seeds and splits give equal recordings on the same machine, whatever `workers` is.
        split: name such as "train" or "validation"; different splits share no episode.
        clips_per_episode: length of an episode in clips of 17 frames, at least 1.
        image_size: height and width of the images in pixels.
        workers: number of processes, at least 1.
        behaviour: "teleoperator" for smooth motion, "commander" for sudden commands, or "both" in turn.

    Raises:
        InvalidInputError: a number is out of range, or the behaviour is unknown.
        DatasetError: the directory already holds a finished data set, or something else.
        SavingError: a file could not be written.
        RenderingUnavailableError: there is no OpenGL on this machine.
    """
    check_collection(num_episodes, seed, clips_per_episode, workers, behaviour)
    _check_remains(directory)
    extra = {"split": split, "seed": seed, "source": "hwm_env.reference", "behaviour": behaviour}
    writer = DatasetWriter(directory, image_size=(image_size, image_size), extra=extra)
    jobs = [
        _ShardJob(
            writer=writer,
            index=index,
            episodes=range(first, min(first + EPISODES_PER_SHARD, num_episodes)),
            seed=seed,
            split=split,
            frames_per_episode=clips_per_episode * FRAMES_PER_CLIP,
            image_size=image_size,
            behaviour=behaviour,
        )
        for index, first in enumerate(range(0, num_episodes, EPISODES_PER_SHARD))
    ]
    run_jobs(_write_shard, jobs, workers, num_episodes)
    writer.finish(len(jobs))


def _check_remains(directory: Path) -> None:
    """Checks that a directory holds nothing but parts of an unfinished data set.

    Raises:
        DatasetError: it holds something else.
    """
    known = {METADATA_FILE, *(file.folder for file in ShardFile)}
    names = os.listdir(directory) if os.path.isdir(directory) else []
    strange = sorted(name for name in names if name not in known and not name.startswith("."))
    if strange:
        raise DatasetError(
            f"{shown(directory)} holds {strange[0]}, which is not part of a recording; give another directory"
        )


def check_collection(num_episodes: int, seed: int, clips_per_episode: int, workers: int, behaviour: Behaviour) -> None:
    """Checks the arguments of a collection.

    Raises:
        InvalidInputError: a number is out of range, or the behaviour is unknown.
    """
    checked("behaviour", behaviour, Behaviour)
    checked("seed", seed, CountOrZero)
    for name, value in (("num_episodes", num_episodes), ("clips_per_episode", clips_per_episode), ("workers", workers)):
        checked(name, value, Count)


def run_jobs(record: Callable[[_Job], int], jobs: Sequence[_Job], workers: int, num_episodes: int) -> None:
    """Records in several processes.

    Args:
        record: does one job and returns its number of episodes; must be picklable, like the jobs.
        jobs: the jobs.
        workers: number of processes.
        num_episodes: number of episodes of all jobs together.

    Raises:
        HWMError: a process died.
    """
    with tqdm(total=num_episodes, unit="episode", desc="collect") as progress:
        for count in run_in_processes(record, jobs, workers, _start_worker):
            progress.update(count)


def _start_worker() -> None:
    # Mesa's software renderer would start a thread for each core in each process; one thread a process is faster.
    os.environ.setdefault("LP_NUM_THREADS", "1")


def _write_shard(job: _ShardJob) -> int:
    """Records and writes one shard; returns its number of episodes."""
    with ReferenceWorld(job.image_size) as world:
        episodes = [
            record_episode(
                world,
                episode_rng(job.seed, job.split, number),
                job.frames_per_episode,
                operator_of(job.behaviour, number),
            )
            for number in job.episodes
        ]
    job.writer.write_shard(
        job.index,
        states=np.concatenate([episode.states for episode in episodes]),
        segments=np.repeat(np.array(job.episodes, np.int32), job.frames_per_episode),
        frames=np.concatenate([episode.frames for episode in episodes]),
        poses=np.concatenate([episode.poses for episode in episodes]),
    )
    return len(episodes)
