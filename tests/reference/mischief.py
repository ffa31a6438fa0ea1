"""Work for supervised processes, some of which hang, die or raise.

A job's files in its folder count its tries, one file a try with the id of the process in it.
"""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = "HWM_TEST_MISCHIEF"
"""Environment variable with the folder for the tries of `record`."""


@dataclass(frozen=True)
class Task:
    """A number to double."""

    folder: Path
    number: int
    mischief: str = ""
    """What a failing try does."""
    tries: int = 1
    """How many tries fail."""
    heals: str = ""
    """Environment variable with which no try fails."""


def count_try(folder: Path, number: int) -> int:
    """Returns the number of this try, counted from 1."""
    for current in itertools.count(1):
        try:
            with (folder / f"job_{number}_try_{current}").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            continue
        return current
    raise AssertionError


def do(mischief: str) -> None:
    if mischief == "hangs":
        while True:
            time.sleep(60)
    elif mischief == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif mischief == "exits":
        os._exit(7)
    elif mischief == "raises":
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        raise KeyError("a bug")
    elif mischief == "no rendering":
        from hwm_env.reference.opengl import RenderingUnavailableError

        raise RenderingUnavailableError("no OpenGL here")
    elif mischief == "invalid":
        from hwm_env.errors import InvalidInputError

        raise InvalidInputError("the size must be 16, got 15")


def double(task: Task, alive: Callable[[], None]) -> int:
    """Doubles a number, at last."""
    alive()
    current = count_try(task.folder, task.number)
    if current <= task.tries and task.heals not in os.environ:
        do(task.mischief)
    return 2 * task.number


RECORDED = {0: "hangs", 3: "killed", 4: "raises"}
"""What the first try of an episode does in `record`, after a few frames."""


def record(job, alive: Callable[[], None]):
    """Records an episode like `record_job`, at last."""
    from hwm_env.reference.collect import record_job

    mischief = RECORDED.get(job.number, "")
    if mischief and count_try(Path(os.environ[FOLDER]), job.number) == 1:
        frames = itertools.count(1)

        def alive_for_a_while() -> None:
            alive()
            if next(frames) == 5:
                do(mischief)

        return record_job(job, alive_for_a_while)
    return record_job(job, alive)
