"""Batches: what arrives together is computed together."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from hwm_env.errors import ModelOutputError
from hwm_env.service.batching import Batcher, BusyError
from hwm_env.types import Float32Array
from tests.service.servers import serving

CHUNK = np.zeros((17, 25), np.float32)


class Numbers:
    """A world of whole numbers that counts its batches; 13 is unlucky."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_step = threading.Event()
        self.may_step.set()

    def step(self, moments: Sequence[Any], chunks: Float32Array) -> list[Any]:
        self.may_step.wait()
        assert chunks.shape == (len(moments), 17, 25)
        self.batches.append(list(moments))
        broken = [row for row, moment in enumerate(moments) if moment == 13]
        if broken:
            raise ModelOutputError(broken)
        return [moment + 100 for moment in moments]


@pytest.fixture
def world() -> Numbers:
    return Numbers()


@pytest.fixture
def batcher(world: Numbers) -> Iterator[Batcher[Any]]:
    made: Batcher[Any] = Batcher(cast(Any, world.step), most_rows=4, wait_s=0.2, most_waiting=20)
    yield made
    world.may_step.set()
    made.close()


async def step_all(batcher: Batcher[Any], moments: Sequence[int]) -> list[Any]:
    return await asyncio.gather(*(batcher.step(moment, CHUNK) for moment in moments), return_exceptions=True)


def test_what_arrives_together_is_one_batch(batcher: Batcher[Any], world: Numbers) -> None:
    assert asyncio.run(step_all(batcher, [1, 2, 3])) == [101, 102, 103]
    assert world.batches == [[1, 2, 3]]


def test_batches_are_limited(batcher: Batcher[Any], world: Numbers) -> None:
    assert asyncio.run(step_all(batcher, range(10))) == list(range(100, 110))
    assert [len(batch) for batch in world.batches] == [4, 4, 2]


def test_a_broken_row_breaks_no_other(batcher: Batcher[Any], world: Numbers) -> None:
    first, broken, last = asyncio.run(step_all(batcher, [1, 13, 2]))
    assert (first, last) == (101, 102)
    assert isinstance(broken, ModelOutputError)
    assert world.batches == [[1, 13, 2], [1, 2]]


def test_other_work_is_done_between(batcher: Batcher[Any]) -> None:
    async def story() -> tuple[Any, ...]:
        return tuple(await asyncio.gather(batcher.step(1, CHUNK), batcher.compute(threading.get_ident)))

    after, thread = asyncio.run(story())
    assert after == 101
    assert thread != threading.get_ident()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(batcher.compute(lambda: 1 // 0))


@pytest.mark.slow
def test_too_much_is_refused(batcher: Batcher[Any], world: Numbers) -> None:
    world.may_step.clear()

    async def story() -> list[Any]:
        steps = [asyncio.ensure_future(batcher.step(0, CHUNK)) for _ in range(40)]
        await asyncio.sleep(0.5)
        world.may_step.set()
        return await asyncio.gather(*steps, return_exceptions=True)

    results = asyncio.run(story())
    refused = [result for result in results if isinstance(result, BusyError)]
    assert 10 < len(refused) < 30
    assert all(result >= 100 for result in results if not isinstance(result, BusyError))


def test_what_still_waits_at_the_end_is_cancelled(world: Numbers) -> None:
    batcher: Batcher[Any] = Batcher(cast(Any, world.step), most_rows=1, wait_s=0.01, most_waiting=20)
    world.may_step.clear()

    async def story() -> list[Any]:
        steps = [asyncio.ensure_future(batcher.step(number, CHUNK)) for number in range(3)]
        await asyncio.sleep(0.2)
        threading.Timer(0.2, world.may_step.set).start()
        await asyncio.to_thread(batcher.close)
        return await asyncio.gather(*steps, return_exceptions=True)

    first, *others = asyncio.run(story())
    assert first == 100
    assert all(isinstance(result, asyncio.CancelledError) for result in others)


@pytest.mark.slow
def test_simultaneous_requests_become_one_batch(tiny_checkpoint: Path) -> None:
    with serving(tiny_checkpoint, decoding_steps=1, batch_wait_ms=500.0) as server:
        still = np.zeros((17, 25)).tolist()
        ids = [server.post("/v1/sessions", start=row % 4, seed=row)["id"] for row in range(8)]
        threads = [
            threading.Thread(target=server.post, args=(f"/v1/sessions/{session}/step",), kwargs={"actions": still})
            for session in ids
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.metric("hwm_batch_rows_sum") == 8
        assert server.metric("hwm_batch_rows_count") == 1
