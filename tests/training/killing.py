"""Trains a small world, killed again and again between and within file operations.

`python -m tests.training.killing DIRECTORY KILLS`. A process of its own, since each training is a fork of it that has
everything imported already.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from hwm_env import checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.training.world_model.recipe import TrainingConfig
from hwm_env.training.world_model.train import train_world_model
from tests.file_operations import FileOperations, Group
from tests.training.worlds import MODEL, RECIPE, TOKENIZER, write_world

LONG = replace(RECIPE, steps=14, batch_size=2, report_every=1)


def fork(work: Callable[[], object]) -> int:
    """Runs a function in a new process."""
    process = os.fork()
    if process == 0:
        # This copy of the process ends here in any case.
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
    """Trains once without interruption and once with kills."""
    torch.set_num_threads(1)
    data: Dataset = write_world(directory / "data")

    def train_for(run: Path, recipe: TrainingConfig) -> None:
        train_world_model(data, data, TOKENIZER, run, MODEL, recipe, resume=True, device="cpu")

    def train(run: Path, last: tuple[Group, int] | None = None) -> None:
        operations = FileOperations(run, last)
        train_for(run, LONG)
        (directory / "counts.json").write_text(json.dumps(operations.counts))

    # A training imports modules when it needs them.
    train_for(directory / "first", replace(LONG, steps=1))
    assert exit_code(fork(lambda: train(directory / "whole"))) == 0
    counts = json.loads((directory / "counts.json").read_text())
    chance = random.Random(0)
    for number in range(kills):
        group: Group = "writes" if number % 2 else "operations"
        last = group, chance.randint(1, 3 * counts[group] // (2 * LONG.steps))
        assert exit_code(fork(lambda last=last: train(directory / "killed", last))) == -signal.SIGKILL
        if (directory / "killed/checkpoint").exists():
            process = fork(lambda: checkpoint.load(directory / "killed/checkpoint"))
            assert exit_code(process) == 0, f"no loadable checkpoint after kill {number}"
    reached = sorted(path.name for path in (directory / "killed/checkpoints").glob("step-*"))
    print(f"killed {kills} times, the last time at {reached[-1]}")
    assert exit_code(fork(lambda: train(directory / "killed"))) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
