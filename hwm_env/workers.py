"""Worker processes that do jobs side by side, and that end when the process that started them does.

    python -m hwm_env.workers PARENT MODULE [ARGUMENT ...]

runs a module in the same way: a launcher started so ends with the process PARENT.
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
_LOOK_EVERY_S: Final = 1.0


def run_in_processes(
    function: Callable[[_Job], _Result],
    jobs: Sequence[_Job],
    workers: int,
    initializer: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[_Result]:
    """Does jobs in processes, which end at once if this one is killed.

    They are spawned: neither an OpenGL context nor a process with threads survives a fork. So a script that calls this
    needs the usual `if __name__ == "__main__":`.

    Args:
        function: does one job; it, the jobs and the results must be picklable.
        jobs: at least 1.
        workers: number of processes; fewer are started where there are fewer jobs.
        initializer: is called once in each process.
        arguments: of `initializer`.

    Yields:
        The results, as they come.

    Raises:
        HWMError: a process died.
        Exception: whatever `function` raises; no further job is begun then.
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
                "a worker process died (killed, or out of memory?); run it again, maybe with fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def end_with_parent(parent: int) -> None:
    """Ends this process when the one that started it does, however that ends.

    Args:
        parent: its id, as it was when it started this one.
    """
    if not _ask_kernel():
        threading.Thread(target=_wait_for_end, args=(parent,), daemon=True).start()
    elif os.getppid() != parent:  # it had ended before
        os._exit(1)


def _start(parent: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    end_with_parent(parent)
    if initializer is not None:
        initializer(*arguments)


def _ask_kernel() -> bool:
    """Lets the kernel kill this process when its parent ends; whether there is such a kernel."""
    if sys.platform != "linux":
        return False
    return int(ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)) == 0


def _wait_for_end(parent: int) -> None:
    """Waits until the parent has ended, then ends this process."""
    known = multiprocessing.parent_process()
    if known is not None:
        known.join()
    else:
        # Of a process whose parent has ended, another one is the parent.
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_S)
    os._exit(1)


def main(argv: Sequence[str]) -> None:
    """Runs a module until it or the process `parent` ends."""
    parent, module, *arguments = argv
    end_with_parent(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
