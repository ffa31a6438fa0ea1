"""Brings micro-batches from the disk to the training, in an order that is a function of the seed."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor

from hwm_env.data.read_ahead import read_ahead
from hwm_env.data.samples import ClipSamples
from hwm_env.data.shuffle import EpochShuffle
from hwm_env.training.objective import SampleBatch
from hwm_env.training.recipe import TrainingConfig
from hwm_env.types import Int64Array


class MicroBatches:
    """Sample indices of each micro-batch of one process, from a step on.

    A step's batch is divided among the processes, and each part into micro-batches, in order: whatever the division,
    the batch is the same.

    Attributes:
        per_step: micro-batches of a step.
        first_step: where the plan begins.
    """

    def __init__(
        self,
        candidates: Int64Array,
        config: TrainingConfig,
        *,
        first_step: int = 0,
        process: int = 0,
        num_processes: int = 1,
    ) -> None:
        """Plans the training.

        Args:
            candidates: indices of the samples to train on.
            config: the recipe.
            first_step: where to begin.
            process: which of the processes this is.
            num_processes: how many there are.

        Raises:
            InvalidInputError: the batch cannot be divided so.
        """
        self.per_step = config.micro_batches(num_processes)
        self.first_step = first_step
        self._candidates = candidates
        self._config = config
        self._process = process
        self._order = EpochShuffle(len(candidates), config.seed)

    def __iter__(self) -> Iterator[Int64Array]:
        for step in range(self.first_step, self._config.steps):
            yield from self.of_step(step)

    def of_step(self, step: int) -> Iterator[Int64Array]:
        """Sample indices of the micro-batches of a step."""
        first = step * self._config.batch_size
        for index in range(self.per_step):
            rows = self.rows(index)
            yield self._candidates[self._order.indices(first + rows.start, first + rows.stop)]

    def rows(self, index: int) -> range:
        """Places in the step's batch of the micro-batch `index` of this process."""
        size = self._config.micro_batch_size
        first = (self._process * self.per_step + index) * size
        return range(first, first + size)


def some_of(num_samples: int, most: int | None) -> Int64Array:
    """Indices of all samples, or of `most` of them, evenly spread."""
    if most is None or most >= num_samples:
        return np.arange(num_samples)
    return np.linspace(0, num_samples - 1, most).astype(np.int64)


def load(samples: ClipSamples, plan: MicroBatches, *, workers: int, device: torch.device) -> Iterator[SampleBatch]:
    """Micro-batches on the device, read ahead by `workers` threads; 0: read when asked for."""

    def gather(indices: Int64Array) -> dict[str, Tensor]:
        parts = {name: torch.from_numpy(part) for name, part in samples.gather(indices).items()}
        return {name: part.pin_memory() for name, part in parts.items()} if device.type == "cuda" else parts

    for parts in read_ahead(gather, plan, workers):
        yield cast(SampleBatch, {name: part.to(device, non_blocking=True) for name, part in parts.items()})
