"""Loads micro-batches from disk in an order that depends only on the seed."""

import itertools
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from hwm_env.data.read_ahead import read_ahead
from hwm_env.data.samples import ClipSamples
from hwm_env.data.shuffle import EpochShuffle
from hwm_env.training.runs.resident import ResidentSamples, fits
from hwm_env.training.world_model.objective import SampleBatch
from hwm_env.training.world_model.recipe import TrainingConfig
from hwm_env.types import Int64Array


class MicroBatches:
    """The sample indices of each micro-batch of one process, beginning at a step.

    A step's batch is divided in order among the processes, and each part into micro-batches, so that the batch does not
    depend on the division.

    Attributes:
        per_step: number of micro-batches in a step.
        first_step: first step of the plan.
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
        """Plans the micro-batches.

        Args:
            candidates: indices of the samples to train on.
            config: the recipe.
            first_step: first step of the plan.
            process: index of this process.
            num_processes: number of processes.

        Raises:
            InvalidInputError: the batch size is not a multiple of the micro-batch size times the number of processes.
        """
        self.per_step = config.micro_batches(num_processes)
        self.first_step = first_step
        self._candidates = candidates
        self._config = config
        self._process = process
        self._order = EpochShuffle(len(candidates), config.seed)

    def __iter__(self) -> Iterator[Int64Array]:
        # How many steps fit into a time is not known before.
        steps = itertools.count() if self._config.minutes is not None else range(self._config.steps)
        for step in itertools.islice(steps, self.first_step, None):
            yield from self.of_step(step)

    def of_step(self, step: int) -> Iterator[Int64Array]:
        """Yields the sample indices of each micro-batch of a step."""
        first = step * self._config.batch_size
        for index in range(self.per_step):
            rows = self.rows(index)
            yield self._candidates[self._order.indices(first + rows.start, first + rows.stop)]

    def rows(self, index: int) -> range:
        """Returns the rows of the step's batch in micro-batch `index` of this process."""
        size = self._config.micro_batch_size
        first = (self._process * self.per_step + index) * size
        return range(first, first + size)


def load(samples: ClipSamples, plan: MicroBatches, *, workers: int, device: torch.device) -> Iterator[SampleBatch]:
    """Yields micro-batches on the device.

    If all samples fit into a third of a GPU's free memory, they are gathered there. Otherwise, they are read ahead by
    `workers` threads; with 0, each is read when requested.
    """
    if fits(samples, device):
        resident = ResidentSamples(samples, device)
        yield from (cast(SampleBatch, resident.gather(indices)) for indices in plan)
        return

    def gather(indices: Int64Array) -> dict[str, Tensor]:
        parts = {name: torch.from_numpy(part) for name, part in samples.gather(indices).items()}
        return {name: part.pin_memory() for name, part in parts.items()} if device.type == "cuda" else parts

    for parts in read_ahead(gather, plan, workers):
        yield cast(SampleBatch, {name: part.to(device, non_blocking=True) for name, part in parts.items()})
