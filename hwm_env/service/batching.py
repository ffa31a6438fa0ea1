"""One thread that computes everything, and steps of simultaneous requests as one batch."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np

from hwm_env.envs.world import M
from hwm_env.errors import HWMError, ModelOutputError
from hwm_env.types import Float32Array

T = TypeVar("T")

_LONGEST_WAITS: Final = 10
"""Waits after which a batch is computed even if requests continue to arrive."""


class BusyError(HWMError):
    """Too much is waiting to be computed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Step(Generic[M]):
    moment: M
    chunk: Float32Array
    result: "Future[M]"


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    function: Callable[[], Any]
    result: "Future[Any]"

    def run(self) -> None:
        if self.result.set_running_or_notify_cancel():
            _settle(self.result, self.function)


class Batcher(Generic[M]):
    """Computes for all requests, one thing after another, in a thread of its own.

    Args:
        step: advances rows, see `hwm_env.envs.world.World.step`.
        most_rows: rows of one batch.
        wait_s: how long a step waits for further ones after the last job that arrived.
        most_waiting: jobs that may wait.
        on_batch: is told the number of rows and the seconds of each batch.
    """

    def __init__(
        self,
        step: Callable[[Sequence[M], Float32Array], list[M]],
        *,
        most_rows: int,
        wait_s: float,
        most_waiting: int,
        on_batch: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        self._step_rows = step
        self._most_rows = most_rows
        self._wait_s = wait_s
        self._on_batch = on_batch
        self._jobs: queue.Queue[_Step[M] | _Call | None] = queue.Queue(most_waiting)
        self._thread = threading.Thread(target=self._work, name="hwm_env batches", daemon=True)
        self._thread.start()

    async def step(self, moment: M, chunk: Float32Array) -> M:
        """Advances one row by a clip, in a batch with others.

        Args:
            moment: the present moment.
            chunk: its actions, [17, 25].

        Raises:
            ModelOutputError: the row's output is not finite.
            BusyError: too much is waiting.
        """
        result: Future[M] = Future()
        self._put(_Step(moment, chunk, result))
        return await asyncio.wrap_future(result)

    async def compute(self, function: Callable[[], T]) -> T:
        """Calls a function in the thread.

        Raises:
            BusyError: too much is waiting.
        """
        result: Future[T] = Future()
        self._put(_Call(function, result))
        return await asyncio.wrap_future(result)

    @property
    def waiting(self) -> int:
        """Number of jobs that wait, about."""
        return self._jobs.qsize()

    def close(self) -> None:
        """Ends the thread after what it computes now; what still waits is cancelled."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job.result.cancel()
        self._jobs.put(None)
        self._thread.join()

    def _put(self, job: "_Step[M] | _Call") -> None:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise BusyError(f"{self._jobs.maxsize} computations are waiting; try again later") from None

    def _work(self) -> None:
        steps: list[_Step[M]] = []
        began_s = 0.0
        while True:
            try:
                job = self._jobs.get(timeout=self._wait_s if steps else None)
            except queue.Empty:
                self._step(steps)
                steps = []
                continue
            if job is None:
                for step in steps:
                    step.result.cancel()
                return
            if isinstance(job, _Call):
                job.run()
            elif job.result.set_running_or_notify_cancel():
                began_s = began_s if steps else time.monotonic()
                steps.append(job)
            has_waited = time.monotonic() - began_s > _LONGEST_WAITS * self._wait_s and self._jobs.empty()
            if len(steps) == self._most_rows or (steps and has_waited):
                self._step(steps)
                steps = []

    def _step(self, steps: Sequence[_Step[M]]) -> None:
        """Advances rows together; if the output of some is not finite, the others without these."""
        began_s = time.monotonic()
        try:
            moments = self._step_rows([step.moment for step in steps], np.stack([step.chunk for step in steps]))
        except ModelOutputError as error:
            for row in error.rows:
                steps[row].result.set_exception(ModelOutputError([0]))
            others = [step for row, step in enumerate(steps) if row not in error.rows]
            if others:
                self._step(others)
            return
        except BaseException as error:
            for step in steps:
                step.result.set_exception(error)
            return
        self._on_batch(len(steps), time.monotonic() - began_s)
        for step, moment in zip(steps, moments, strict=True):
            step.result.set_result(moment)


def _settle(result: "Future[Any]", function: Callable[[], Any]) -> None:
    try:
        value = function()
    except BaseException as error:
        result.set_exception(error)
    else:
        result.set_result(value)
