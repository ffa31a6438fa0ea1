import threading
from collections.abc import Iterator

import numpy as np
import pytest

from hwm_env.data.read_ahead import read_ahead
from hwm_env.data.samples import ClipSamples
from hwm_env.errors import InvalidInputError


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order(write_dataset, workers: int) -> None:
    dataset, _ = write_dataset([0] * 17 * 12)
    samples = ClipSamples(dataset, 2)
    order = [np.array([index % 10, (7 * index) % 10]) for index in range(40)]
    batches = list(read_ahead(samples.gather, order, workers))
    assert len(batches) == 40
    for indices, batch in zip(order, batches, strict=True):
        np.testing.assert_array_equal(batch["video_past"], samples.gather(indices)["video_past"])


@pytest.mark.parametrize("workers", [1, 2])
def test_only_a_few_batches_ahead(workers: int) -> None:
    asked = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            asked.append(len(asked))
            yield np.array([asked[-1]])

    batches = read_ahead(lambda indices: int(indices[0]), endless(), workers)
    for number in range(20):
        assert next(batches) == number
        assert len(asked) <= number + 1 + 2 * workers


def test_workers_gather_at_once() -> None:
    together = threading.Barrier(3, timeout=300)

    def gather(indices: np.ndarray) -> int:
        together.wait()
        return int(indices[0])

    assert list(read_ahead(gather, [np.array([number]) for number in range(6)], 3)) == list(range(6))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_at_its_turn(workers: int) -> None:
    def gather(indices: np.ndarray) -> int:
        return 6 // int(indices[0])

    batches = read_ahead(gather, [np.array([number]) for number in (3, 2, 0, 1)], workers)
    assert [next(batches), next(batches)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_no_thread_stays_behind() -> None:
    batches = read_ahead(len, [np.zeros(2)] * 100, 2)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_a_negative_number_of_workers() -> None:
    with pytest.raises(InvalidInputError, match="at least 0, got -1"):
        list(read_ahead(len, [], -1))
