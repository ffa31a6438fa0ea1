"""Measures env steps on a free and on a busy machine, in its own process: `python -m tests.benchmarks.busy`."""

import hwm_env  # noqa: F401 - before PyTorch, so that its threads spin for a short time

# isort: split
import contextlib
import multiprocessing
import os
from collections.abc import Iterator

import gymnasium
import numpy as np
import torch
import tyro

from tests.benchmarks.timing import median_s

REPEATS = 20


def main(threads: int = 0, /) -> None:
    """Prints the median time of an env step with all frames, in ms: free, beside one busy process and one per core.

    Args:
        threads: of PyTorch; 0: its default.
    """
    if threads:
        torch.set_num_threads(threads)
    env = gymnasium.make("HWM-v0", obs_mode="clip", max_episode_steps=1000)
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, np.float32)
    times_ms = []
    for count in (0, 1, os.cpu_count() or 1):
        with busy_processes(count):
            times_ms.append(1e3 * median_s(lambda: env.step(action), REPEATS))
    print(*times_ms)


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Runs processes that each keep a core busy."""
    processes = [multiprocessing.get_context("spawn").Process(target=_work, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _work() -> None:
    while True:
        pass


if __name__ == "__main__":
    tyro.cli(main)
