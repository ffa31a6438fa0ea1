"""Trains a small world in as many processes as it is started in, up to a step: DATA RUN KIND RECIPE STEPS.

KIND is "ddp", or "fsdp": accelerate shards models on accelerators only, and is persuaded here that processors are some.
"""

import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from hwm_env.data.reader import Dataset
from hwm_env.training.runs.run import Run
from hwm_env.training.runs.stopping import TrainingStopped
from hwm_env.training.world_model.train import train_world_model
from tests.training.worlds import MODEL, RECIPE, TOKENIZER

RECIPES = {
    # Muon amplifies small differences.
    "adamw": replace(RECIPE, micro_batch_size=1, matrix_learning_rate=None, report_every=1),
    "muon": replace(RECIPE, micro_batch_size=1, report_every=1),
    "again": replace(
        RECIPE, micro_batch_size=1, matrix_learning_rate=None, report_every=1, checkpoint_activations=True
    ),
}
RANKS = ("RANK", "LOCAL_RANK")
SIZES = ("WORLD_SIZE", "LOCAL_WORLD_SIZE")
WRAPPED = ["ByTime", "JointTemporalAttention"]


def shard_on_processors() -> None:
    Accelerator(cpu=True)
    for state in (PartialState, AcceleratorState):
        state._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["fsdp_plugin"] = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=WRAPPED,
        cpu_ram_efficient_loading=False,
    )


def main(data: Path, run: Path, kind: str, recipe: str, steps: int) -> None:
    """Trains up to a step, or resumes where another call ended."""
    torch.set_num_threads(1)
    if kind == "fsdp":
        shard_on_processors()
    dataset = Dataset(data)

    def stop(self: Run, *arguments: Any, **options: Any) -> None:
        save(self, *arguments, **options)
        if arguments[0] == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    save, Run.save = Run.save, stop  # type: ignore[method-assign]
    with suppress(TrainingStopped):
        train_world_model(dataset, dataset, TOKENIZER, run, MODEL, RECIPES[recipe], resume=True, device="cpu")


def train_as(rank: int, processes: int, port: int, *work: Any) -> None:
    """Does the work of `main` as one of several processes, which a launcher would tell the same."""
    os.environ.update({name: str(rank) for name in RANKS} | {name: str(processes) for name in SIZES})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    main(*work)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
