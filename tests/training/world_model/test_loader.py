"""The samples of each step, for any division into micro-batches and processes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data.samples import ClipSamples
from hwm_env.training.world_model.loader import MicroBatches, load
from tests.training.worlds import RECIPE, write_world

LONG = replace(RECIPE, steps=9, batch_size=8, micro_batch_size=2)


def test_processes_share_the_batch_of_one() -> None:
    candidates = np.arange(100) * 3
    alone = np.stack(list(MicroBatches(candidates, LONG))).reshape(9, 8)
    for num_processes in (2, 4):
        plans = [MicroBatches(candidates, LONG, process=i, num_processes=num_processes) for i in range(num_processes)]
        parts = [np.stack(list(plan)).reshape(9, -1) for plan in plans]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), alone)
        rows = [row for plan in plans for index in range(plan.per_step) for row in plan.rows(index)]
        assert rows == list(range(8))
    assert np.isin(alone, candidates).all()


def test_a_plan_goes_on_where_another_stopped() -> None:
    whole = list(MicroBatches(np.arange(20), LONG))
    rest = list(MicroBatches(np.arange(20), LONG, first_step=5))
    np.testing.assert_array_equal(np.stack(whole[5 * 4 :]), np.stack(rest))


def test_an_epoch_sees_every_sample_once() -> None:
    seen = np.concatenate(list(MicroBatches(np.arange(24), replace(LONG, steps=3))))
    np.testing.assert_array_equal(np.sort(seen), np.arange(24))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_whoever_reads(tmp_path: Path, workers: int) -> None:
    samples = ClipSamples(write_world(tmp_path), 2)
    state = torch.get_rng_state()
    plan = MicroBatches(np.arange(len(samples)), LONG)
    batches = list(load(samples, plan, workers=workers, device=torch.device("cpu")))
    assert torch.equal(torch.get_rng_state(), state), "the global generator is nobody's business"
    assert len(batches) == 9 * 4
    for indices, batch in zip(plan, batches, strict=True):
        for name, part in samples.gather(indices).items():
            np.testing.assert_array_equal(batch[name], part)  # type: ignore[literal-required]
