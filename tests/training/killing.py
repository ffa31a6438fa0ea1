"""Trains a small world, killed again and again between and within file operations.

`python -m tests.training.killing DIRECTORY KILLS`. A process of its own, since each training is a fork of it that has
everything imported already.
"""

import io
import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from hwm_env import checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.training.world_model import train_world_model
from tests.training.worlds import MODEL, RECIPE, TOKENIZER, write_world

LONG = replace(RECIPE, steps=24, batch_size=2, report_every=1)
OPERATIONS = ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "shutil.rmtree")
"""What Python reports of files (PEP 578), before it is done."""
Group = Literal["operations", "writes"]
"""Writes are far more than all other operations."""


class FileOperations:
    """Counts what this process does to a directory's files, and kills it at the operation that is its turn.

    A write is cut in half. What threads do beside the training, such as the curves of TensorBoard, is not counted:
    so equal trainings have equal operations.

    Args:
        directory: whose files.
        last: which operation the process does not survive, counted from 1 within its group; None: it survives all.
    """

    def __init__(self, directory: Path, last: tuple[Group, int] | None) -> None:
        self.counts: Counter[Group] = Counter()
        self._prefix = f"{directory}{os.sep}"
        self._last = last
        sys.addaudithook(self._audit)
        self._open, io.open = io.open, self._open_counted  # type: ignore[assignment]

    def count(self, group: Group, halfway: Callable[[], object] = lambda: None) -> None:
        """Counts an operation; if it is the last, does half of it and ends."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.counts[group] += 1
        if (group, self.counts[group]) == self._last:
            halfway()
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPERATIONS and self._is_inside(arguments[0]):
            self.count("operations")

    def _is_inside(self, path: object) -> bool:
        # What is removed with its directory is named without it.
        return isinstance(path, str | Path) and (str(path).startswith(self._prefix) or not os.path.isabs(path))

    def _open_counted(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        opened = self._open(file, mode, *arguments, **options)
        if mode[0] in "aw" and self._is_inside(file):
            write = opened.write

            def write_counted(content: Any) -> Any:
                self.count("writes", lambda: (write(content[: len(content) // 2]), opened.flush()))
                return write(content)

            opened.write = write_counted
        return opened


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

    def train(run: Path, last: tuple[Group, int] | None = None) -> None:
        operations = FileOperations(run, last)
        train_world_model(data, data, TOKENIZER, run, MODEL, LONG, resume=True, device="cpu")
        (directory / "counts.json").write_text(json.dumps(operations.counts))

    assert exit_code(fork(lambda: train(directory / "whole"))) == 0
    counts = json.loads((directory / "counts.json").read_text())
    chance = random.Random(0)
    for number in range(kills):
        group: Group = "writes" if number % 2 else "operations"
        last = group, chance.randint(1, 2 * counts[group] // LONG.steps)
        assert exit_code(fork(lambda last=last: train(directory / "killed", last))) == -signal.SIGKILL
        if (directory / "killed/checkpoint").exists():
            process = fork(lambda: checkpoint.load(directory / "killed/checkpoint"))
            assert exit_code(process) == 0, f"no loadable checkpoint after kill {number}"
    reached = sorted(path.name for path in (directory / "killed/checkpoints").glob("step-*"))
    print(f"killed {kills} times, the last time at {reached[-1]}")
    assert exit_code(fork(lambda: train(directory / "killed"))) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
