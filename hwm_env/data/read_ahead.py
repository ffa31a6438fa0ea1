"""Reads batches ahead of time in threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from hwm_env.fields import CountOrZero, checked
from hwm_env.types import Int64Array

BATCHES_A_WORKER: Final = 2

Batch = TypeVar("Batch")


def read_ahead(gather: Callable[[Int64Array], Batch], indices: Iterable[Int64Array], workers: int) -> Iterator[Batch]:
    """Yields batches in order, gathering some of them ahead of time.

    It uses threads, because gathering copies mapped memory, during which NumPy releases the GIL. Processes would copy
    each batch again into shared memory, which costs several times as much as reading it.

    Args:
        gather: returns the batch of the given sample indices, such as `ClipSamples.gather`; called by several threads
            at the same time.
        indices: the sample indices of each batch, int64 [B].
        workers: number of threads; with 0, each batch is gathered when it is requested.

    Raises:
        InvalidInputError: `workers` is negative.
        Exception: `gather` raised it; raised again when that batch is due.
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
