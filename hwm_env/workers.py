"""Runs jobs in parallel worker processes, which end when the process that started them ends.

    python -m hwm_env.workers PARENT MODULE [ARGUMENT ...]

runs a module as a script that ends when the process with the id PARENT ends.
"""

import ctypes
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, TypeVar

from hwm_env.errors import HWMError

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

_SET_DEATH_SIGNAL: Final = 1
"""PR_SET_PDEATHSIG of <linux/prctl.h>."""
_POLL_INTERVAL_S: Final = 1.0


def run_in_processes(
    function: Callable[[_Job], _Result],
    jobs: Sequence[_Job],
    workers: int,
    initializer: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[_Result]:
    """Runs jobs in worker processes, which end at once if this process is killed.

    The workers are spawned, because neither an OpenGL context nor threads survive a fork. A script that calls this
    therefore needs `if __name__ == "__main__":`.

    Args:
        function: runs one job; the function, jobs and results must be picklable.
        jobs: at least one job.
        workers: most processes to start; never more than jobs.
        initializer: called once in each process.
        arguments: arguments of `initializer`.

    Yields:
        The results in the order of their completion.

    Raises:
        HWMError: a worker process died.
        Exception: whatever `function` raises; no further job is started then.
    """
    context = multiprocessing.get_context("spawn")
    started = (os.getpid(), initializer, arguments)
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _start, started) as pool:
        futures = [pool.submit(function, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise HWMError(
                "a worker process died (killed, or out of memory?); run again, perhaps with fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def end_with_parent(parent: int) -> None:
    """Makes this process end when its parent ends, for any reason.

    Args:
        parent: process id of the parent when it started this process.
    """
    if not _set_death_signal():
        threading.Thread(target=_wait_for_end, args=(parent,), daemon=True).start()
    elif os.getppid() != parent:  # the parent ended before the signal was set
        os._exit(1)


def _start(parent: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    end_with_parent(parent)
    if initializer is not None:
        initializer(*arguments)


def _set_death_signal() -> bool:
    """Asks the kernel to kill this process when its parent ends; returns whether the kernel supports this."""
    if sys.platform != "linux":
        return False
    return int(ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)) == 0


def _wait_for_end(parent: int) -> None:
    """Waits for the parent to end, then ends this process."""
    known = multiprocessing.parent_process()
    if known is not None:
        known.join()
    else:
        # When the parent ends, this process gets another parent.
        while os.getppid() == parent:
            time.sleep(_POLL_INTERVAL_S)
    os._exit(1)


def main(argv: Sequence[str]) -> None:
    """Runs a module as a script that ends when the parent process ends."""
    parent, module, *arguments = argv
    end_with_parent(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
