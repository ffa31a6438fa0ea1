"""Ways to read samples, and how they are timed; as a program: what opening a data set costs in a process of its own.

`python -m tests.benchmarks.reading DIRECTORY`
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from hwm_env.data.read_ahead import read_ahead
from hwm_env.data.reader import Dataset
from hwm_env.data.samples import ClipSamples
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.windows import ClipWindows
from hwm_env.data.writer import DatasetWriter

CLIPS = 10
SHARDS, CLIPS_A_SHARD = 10, 2000
WINDOWS_A_SHARD = CLIPS_A_SHARD - CLIPS + 1
SPAWN = multiprocessing.get_context("spawn")


def write_files(directory: Path) -> None:
    """Real files: 246 MB of tokens and 34 MB of states, one segment a shard."""
    rng = np.random.default_rng(0)
    writer = DatasetWriter(directory, token_grid=(32, 32))
    frames = CLIPS_A_SHARD * 17
    for index in range(SHARDS):
        tokens = rng.integers(64_000, size=(CLIPS_A_SHARD, 3, 32, 32), dtype=np.int32)
        states = rng.normal(size=(frames, 25)).astype(np.float32)
        writer.write_shard(index, states=states, segments=np.zeros(frames, np.int32), tokens=tokens)
    writer.finish()
    os.sync()


def shuffled(batch_size: int, samples: int) -> list[np.ndarray]:
    order = np.random.default_rng(1).permutation(SHARDS * WINDOWS_A_SHARD)[:samples]
    return list(order.reshape(-1, batch_size))


def forget(directory: Path) -> None:
    """Drops the files from the page cache, unless a process maps them."""
    for path in directory.rglob("*.bin"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def samples_per_s(batches: Iterable[object], num_samples: int, num_batches: int) -> float:
    """Measures from the first batch on, without the start of processes."""
    iterator = iter(batches)
    next(iterator)
    began = time.perf_counter()
    for _ in iterator:
        pass
    return num_samples * (1 - 1 / num_batches) / (time.perf_counter() - began)


def plain(directory: Path, batches: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Copies slices of NumPy's maps of the same bytes in the same order, as the yardstick."""
    maps = [
        (
            np.asarray(np.memmap(directory / f"videos/video_{index}.bin", "<i4", "r")).reshape(-1, 3, 32, 32),
            np.asarray(np.memmap(directory / f"robot_states/states_{index}.bin", "<f4", "r")).reshape(-1, 25),
        )
        for index in range(SHARDS)
    ]
    for indices in batches:
        copies = []
        for index in indices.tolist():
            shard, clip = divmod(index, WINDOWS_A_SHARD)
            tokens, states = maps[shard]
            copies += [tokens[clip : clip + CLIPS].copy(), states[clip * 17 : (clip + CLIPS) * 17].copy()]
        yield copies


def gathered(directory: Path, batches: list[np.ndarray], workers: int) -> Iterator[object]:
    """Reads as the trainer does: threads gather ahead."""
    return read_ahead(ClipSamples(Dataset(directory), CLIPS - 1).gather, batches, workers)


def loaded(directory: Path, batches: list[np.ndarray], workers: int) -> Iterator[object]:
    """Reads the same samples with the worker processes of torch's DataLoader."""
    samples = ClipSamples(Dataset(directory), CLIPS - 1)
    return iter(DataLoader(samples, batch_size=None, sampler=batches, num_workers=workers))


def plain_in_processes(directory: Path, batches: list[np.ndarray], processes: int) -> float:
    """Returns samples a second of plain reads that share the work."""
    barrier = SPAWN.Barrier(processes + 1)
    parts = [batches[process::processes] for process in range(processes)]
    children = [SPAWN.Process(target=_read_part, args=(directory, part, barrier)) for part in parts]
    for child in children:
        child.start()
    barrier.wait()
    began = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - began
    for child in children:
        child.join()
    return sum(map(len, batches)) / seconds


def _read_part(directory: Path, batches: list[np.ndarray], barrier: Barrier) -> None:
    barrier.wait()
    for _ in plain(directory, batches):
        pass
    barrier.wait()


def peak_memory_mb() -> float:
    """Returns the peak memory of this process; getrusage would include that of its parent."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


def main() -> None:
    """Prints seconds and growth of the peak memory (10^6 bytes) of opening a data set, and of its action statistics."""
    costs: dict[str, float] = {}

    def measure(name: str, function: Callable[[], object]) -> object:
        before, began = peak_memory_mb(), time.perf_counter()
        result = function()
        costs[f"{name}_s"] = time.perf_counter() - began
        costs[f"{name}_mb"] = peak_memory_mb() - before
        return result

    dataset = Dataset(sys.argv[1])
    windows = measure("open", lambda: ClipWindows(Dataset(sys.argv[1]), CLIPS))
    assert isinstance(windows, ClipWindows)
    measure("statistics", lambda: ActionStatistics.from_dataset(dataset))
    before = len(os.listdir("/proc/self/fd"))
    for place in np.linspace(0, len(windows) - 1, 1000).astype(np.int64):
        windows.gather(place[None])
    costs["descriptors"] = len(os.listdir("/proc/self/fd")) - before
    print(json.dumps({**costs, "windows": len(windows)}))


if __name__ == "__main__":
    main()
