"""Trains a small world, killed again and again at random moments: python -m tests.training.killing DIRECTORY KILLS.

A process of its own, since each training is a fork of it that has everything imported already.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from hwm_env import checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.training.world_model import train_world_model
from tests.training.worlds import MODEL, RECIPE, TOKENIZER, write_world

LONG = replace(RECIPE, steps=40, batch_size=2, report_every=1)


def fork(work: Callable[[], object]) -> int:
    """Runs a function in a new process."""
    process = os.fork()
    if process == 0:
        # Whatever happens, this copy of the program ends here.
        try:
            work()
        except BaseException as error:
            print(f"a training failed: {error!r}", flush=True)
            os._exit(1)
        os._exit(0)
    return process


def exit_code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(directory: Path, kills: int) -> None:
    """Trains once in peace and once under fire."""
    torch.set_num_threads(1)
    data: Dataset = write_world(directory / "data")

    def train(run: Path) -> Path:
        return train_world_model(data, data, TOKENIZER, run, MODEL, LONG, resume=True, device="cpu")

    started_s = time.monotonic()
    assert exit_code(fork(lambda: train(directory / "whole"))) == 0
    duration_s = time.monotonic() - started_s
    moments = random.Random(0)
    killed = 0
    while killed < kills:
        process = fork(lambda: train(directory / "killed"))
        time.sleep(duration_s * moments.uniform(0.03, 0.15))
        os.kill(process, signal.SIGKILL)
        if exit_code(process) == 0:
            break
        killed += 1
        if (directory / "killed/checkpoint").exists():
            process = fork(lambda: checkpoint.load(directory / "killed/checkpoint"))
            assert exit_code(process) == 0, f"no loadable checkpoint after kill {killed}"
    reached = sorted(path.name for path in (directory / "killed/checkpoints").glob("step-*"))
    print(f"killed {killed} times, the last time at {reached[-1]}")
    assert exit_code(fork(lambda: train(directory / "killed"))) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
