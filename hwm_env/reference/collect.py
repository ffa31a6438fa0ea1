"""Records seeded episodes of the reference world in parallel; the number and fate of processes do not change them."""

import functools
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
from hwm_env.reference.fallbacks import recording_stages
from hwm_env.reference.supervision import SignOfLife, supervise
from hwm_env.reference.world import ReferenceWorld
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, Float32Array, UInt8Array

_Result = TypeVar("_Result")

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
    after_frame: Callable[[], object] = lambda: None,
) -> RecordedEpisode:
    """Records an operator's actions from a random place.

    Args:
        world: the world, which is reset first.
        rng: generator of place and behaviour.
        num_frames: number of frames to record.
        make_operator: makes the operator from `rng`.
        after_frame: called after each recorded frame.
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
        after_frame()
    return RecordedEpisode(states, frames, poses)


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeJob:
    """What a worker needs to know to record one episode."""

    number: int
    seed: int
    split: str
    num_frames: int
    image_size: int
    behaviour: Behaviour


def episode_jobs(
    num_episodes: int, seed: int, split: str, clips_per_episode: int, image_size: int, behaviour: Behaviour
) -> list[EpisodeJob]:
    """Returns the jobs that record a collection, one an episode; for the arguments see `collect`."""
    return [
        EpisodeJob(
            number=number,
            seed=seed,
            split=split,
            num_frames=clips_per_episode * FRAMES_PER_CLIP,
            image_size=image_size,
            behaviour=behaviour,
        )
        for number in range(num_episodes)
    ]


def record_job(job: EpisodeJob, alive: SignOfLife) -> RecordedEpisode:
    """Records one episode in a worker process.

    Args:
        job: the episode.
        alive: called after each frame.
    """
    rng = episode_rng(job.seed, job.split, job.number)
    operator = operator_of(job.behaviour, job.number)
    return record_episode(_world(job.image_size), rng, job.num_frames, operator, alive)


@functools.cache
def _world(image_size: int) -> ReferenceWorld:
    """Returns the world of a worker process, which stays open until the process ends."""
    return ReferenceWorld(image_size)


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

    A worker that does nothing for a minute, dies or fails is replaced, and its episode is recorded again. After three
    failures in a row, half as many workers record, down to one; then as many as at first, with Mesa's software
    renderer. Each failure is logged as a warning.

    Args:
        directory: destination; new, empty, or with the remains of an interrupted collection.
        num_episodes: number of episodes, at least 1.
        seed: at least 0; equal seeds and splits give equal recordings on the same machine, whatever `workers` is and
            happens to them, unless software had to render some images and a GPU the others.
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
        HWMError: the workers failed whatever was tried.
    """
    check_collection(num_episodes, seed, clips_per_episode, workers, behaviour)
    _check_remains(directory)
    extra = {"split": split, "seed": seed, "source": "hwm_env.reference", "behaviour": behaviour}
    writer = DatasetWriter(directory, image_size=(image_size, image_size), extra=extra)
    jobs = episode_jobs(num_episodes, seed, split, clips_per_episode, image_size, behaviour)
    shards = _Shards(writer, num_episodes)
    run_jobs(record_job, jobs, workers, shards.add)
    writer.finish(shards.number)


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


def run_jobs(
    record: Callable[[EpisodeJob, SignOfLife], _Result],
    jobs: Sequence[EpisodeJob],
    workers: int,
    keep: Callable[[int, _Result], object],
) -> None:
    """Records in several processes, supervised as `collect` describes.

    Args:
        record: does one job; see `supervise`.
        jobs: the episodes.
        workers: number of processes.
        keep: receives the index and result of each job, in the order of their completion.

    Raises:
        RenderingUnavailableError: there is no OpenGL on this machine.
        HWMError: the workers failed whatever was tried.
    """
    with tqdm(total=len(jobs), unit="episode", desc="collect") as progress:

        def keep_and_show(index: int, result: _Result) -> None:
            keep(index, result)
            progress.update()

        supervise(record, jobs, recording_stages(min(workers, len(jobs))), keep_and_show)


class _Shards:
    """Writes each shard as soon as all of its episodes are recorded, in any order.

    Args:
        writer: writer of the data set.
        num_episodes: number of episodes of all shards together.
    """

    def __init__(self, writer: DatasetWriter, num_episodes: int) -> None:
        self._writer = writer
        firsts = range(0, num_episodes, EPISODES_PER_SHARD)
        self._numbers = [range(first, min(first + EPISODES_PER_SHARD, num_episodes)) for first in firsts]
        self._unwritten: dict[int, RecordedEpisode] = {}

    @property
    def number(self) -> int:
        """Number of shards."""
        return len(self._numbers)

    def add(self, number: int, episode: RecordedEpisode) -> None:
        """Adds one episode."""
        self._unwritten[number] = episode
        index = number // EPISODES_PER_SHARD
        numbers = self._numbers[index]
        if all(number in self._unwritten for number in numbers):
            episodes = [self._unwritten.pop(number) for number in numbers]
            self._writer.write_shard(
                index,
                states=np.concatenate([episode.states for episode in episodes]),
                segments=np.repeat(np.array(numbers, np.int32), len(episode.states)),
                frames=np.concatenate([episode.frames for episode in episodes]),
                poses=np.concatenate([episode.poses for episode in episodes]),
            )
