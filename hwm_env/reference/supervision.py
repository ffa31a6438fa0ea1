"""Does jobs in watched processes: one that hangs, dies or fails is replaced, and its job is done again.

OpenGL drivers can hang when several processes draw at once, and a process that needs too much memory is killed. Only
the parent keeps results, so that a process may end at any time without leaving anything behind.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Generic, TypeAlias, TypeVar

from hwm_env.errors import HWMError
from hwm_env.reference.opengl import RenderingUnavailableError
from hwm_env.workers import end_with_parent

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
SignOfLife: TypeAlias = Callable[[], None]

_PATIENCE_S: Final = 60.0
"""A worker without a sign of life for longer hangs. The time to start is included."""
_MAX_FAILURES: Final = 3
"""Failures without a finished job in between, or failures of one job, after which a stage is given up."""
_PULSE_INTERVAL_S: Final = 1.0
_POLL_INTERVAL_S: Final = 1.0
_END_TIMEOUT_S: Final = 10.0
"""A killed process that is still there waits for its driver; nothing can be done about it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A way to run the workers."""

    description: str
    """Completes "with ...", such as "2 workers"."""
    workers: int
    """Most processes at a time, at least 1."""
    environment: Mapping[str, str | None]
    """Environment variables of the workers that differ from this process's; `None` removes one."""


@dataclass(frozen=True, slots=True)
class _Done(Generic[_Result]):
    result: _Result


@dataclass(frozen=True, slots=True)
class _Failure:
    description: str
    """Completes "a worker ..."."""
    error: HWMError | None = None


def supervise(
    work: Callable[[_Job, SignOfLife], _Result],
    jobs: Sequence[_Job],
    stages: Sequence[Stage],
    keep: Callable[[int, _Result], object],
) -> None:
    """Does jobs in worker processes, which are ended and replaced if they hang, die or fail.

    The workers are spawned, as in `run_in_processes`, and end with this process. After three failures in a row, or at
    once if the first worker cannot render, the next stage is tried with new workers; finished jobs are not repeated.
    Each failure is logged as a warning.

    Args:
        work: does one job, and calls its second argument at least every few seconds. It must be picklable, like jobs
            and results, and must not change anything outside its process.
        jobs: the jobs.
        stages: how to run the workers, at least one way, in the order in which they are tried.
        keep: receives the index and result of each job once, in the order of their completion.

    Raises:
        RenderingUnavailableError: no stage is left, and the last failure was this.
        HWMError: no stage is left; or `work` raised an HWMError other than RenderingUnavailableError, which ends all
            at once.
        Exception: whatever `keep` raises.
    """
    waiting = deque(range(len(jobs)))
    failure = _run(work, jobs, waiting, stages[0], keep)
    for stage in stages[1:]:
        if failure is None:
            return
        logger.warning("a worker %s; continuing with %s", failure.description, stage.description)
        failure = _run(work, jobs, waiting, stage, keep)
    if failure is None:
        return
    kind = RenderingUnavailableError if isinstance(failure.error, RenderingUnavailableError) else HWMError
    raise kind(
        f"a worker {failure.description}; tried with {', then '.join(stage.description for stage in stages)}; check "
        "memory and graphics driver, and install the Debian packages libegl1 libegl-mesa0 libgl1-mesa-dri for software "
        "rendering"
    )


def _run(
    work: Callable[[_Job, SignOfLife], _Result],
    jobs: Sequence[_Job],
    waiting: deque[int],
    stage: Stage,
    keep: Callable[[int, _Result], object],
) -> _Failure | None:
    """Does the waiting jobs, and returns the last failure if it gives up; unfinished jobs are then waiting again."""
    workers: list[_Worker] = []
    num_done, in_a_row, by_job = 0, 0, Counter[int]()
    try:
        while waiting or workers:
            while waiting and len(workers) < stage.workers:
                worker = _Worker(work, stage.environment)
                workers.append(worker)
                index = waiting.popleft()
                worker.give(index, jobs[index])
            for worker, event in _events(workers):
                if isinstance(event, _Done):
                    keep(worker.job, event.result)
                    num_done, in_a_row = num_done + 1, 0
                    if waiting:
                        index = waiting.popleft()
                        worker.give(index, jobs[index])
                        continue
                workers.remove(worker)
                worker.end()
                if isinstance(event, _Failure):
                    waiting.appendleft(worker.job)
                    cannot_render = isinstance(event.error, RenderingUnavailableError)
                    if event.error is not None and not cannot_render:
                        raise event.error
                    in_a_row += 1
                    by_job[worker.job] += 1
                    if max(in_a_row, by_job[worker.job]) == _MAX_FAILURES or (cannot_render and num_done == 0):
                        return event
                    logger.warning("a worker %s; another one repeats its work", event.description)
        return None
    finally:
        waiting.extendleft(worker.job for worker in workers)
        for worker in workers:
            worker.end()


class _Worker:
    """A process that does one job at a time, as its parent sees it.

    Args:
        work: see `supervise`.
        environment: see `Stage`.
    """

    job: int
    """Index of the job that it does."""
    silent_s: float
    """Time without a sign of life that this process has spent waiting."""

    def __init__(self, work: Callable[[Any, SignOfLife], object], environment: Mapping[str, str | None]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, os.getpid(), work), daemon=True)
        with _changed_environment(environment):
            self._process.start()
        far_end.close()

    def give(self, index: int, job: object) -> None:
        """Starts a job."""
        self.job, self.silent_s = index, 0.0
        # If the process has died, `receive` notices.
        with contextlib.suppress(OSError):
            self.connection.send(job)

    def receive(self) -> _Done[Any] | _Failure | None:
        """Reads a message, or the end of the process; `None` is a sign of life."""
        self.silent_s = 0.0
        try:
            message: _Done[Any] | _Failure | None = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(_END_TIMEOUT_S)
            return _Failure(_death(self._process.exitcode))
        return message

    def end(self) -> None:
        """Kills the process."""
        self._process.kill()
        self._process.join(_END_TIMEOUT_S)
        self.connection.close()


def _death(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"ended with exit code {exit_code}"
    return f"was killed by signal {-exit_code}" + (", as if out of memory" if exit_code == -9 else "")


def _events(workers: Sequence[_Worker]) -> Iterator[tuple[_Worker, _Done[Any] | _Failure]]:
    """Waits for a moment, and returns the workers that have finished a job or failed."""
    start_s = time.monotonic()
    ready = wait([worker.connection for worker in workers], _POLL_INTERVAL_S)
    # A worker is not silent while this process is stopped, or writes a file.
    waited_s = min(time.monotonic() - start_s, _POLL_INTERVAL_S)
    for worker in tuple(workers):
        event = None
        if worker.connection in ready:
            event = worker.receive()
        else:
            worker.silent_s += waited_s
            if worker.silent_s > _PATIENCE_S:
                event = _Failure(f"did nothing for {_PATIENCE_S:g} s")
        if event is not None:
            yield worker, event


@contextlib.contextmanager
def _changed_environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Changes environment variables for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _serve(
    connection: "Connection[_Done[object] | _Failure | None, Any]",
    parent: int,
    work: Callable[[Any, SignOfLife], object],
) -> None:
    """Does jobs until the parent kills this process."""
    # Ctrl-C reaches all processes; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)
    pulse = _Pulse(connection)
    while True:
        job = connection.recv()
        try:
            connection.send(_Done(work(job, pulse)))
        except HWMError as error:
            connection.send(_Failure(f"failed: {error}", error))
        except Exception as error:
            traceback.print_exc()
            connection.send(_Failure(f"failed: {error!r}"))


class _Pulse:
    """Sends signs of life to the parent, at most one a second.

    Args:
        connection: the connection to the parent.
    """

    def __init__(self, connection: "Connection[_Done[object] | _Failure | None, Any]") -> None:
        self._connection = connection
        self._next_s = 0.0

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._connection.send(None)
            self._next_s = now_s + _PULSE_INTERVAL_S
