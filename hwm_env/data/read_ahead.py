"""Batches that threads read before they are asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from hwm_env.fields import CountOrZero, checked
from hwm_env.types import Int64Array

BATCHES_A_WORKER: Final = 2

Batch = TypeVar("Batch")


def read_ahead(gather: Callable[[Int64Array], Batch], indices: Iterable[Int64Array], workers: int) -> Iterator[Batch]:
    """Gathers batches in order, some of them ahead of time.

    Threads, because gathering copies mapped memory, during which NumPy lets other threads run. Processes would copy
    each batch once more into shared memory, which costs several times as much as reading it.

    Args:
        gather: makes a batch of the indices of its samples, such as `ClipSamples.gather`; threads call it at once.
        indices: of each batch, int64 [B].
        workers: number of threads; 0: each batch is gathered when it is asked for.

    Raises:
        InvalidInputError: `workers` is negative.
        Exception: whatever `gather` raises, at the turn of the batch that it is about.
    """
    checked("workers", workers, CountOrZero)
    if workers == 0:
        yield from map(gather, indices)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read-ahead")
    try:
        pending: deque[Future[Batch]] = deque()
        for of_batch in indices:
            pending.append(pool.submit(gather, of_batch))
            if len(pending) > BATCHES_A_WORKER * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
