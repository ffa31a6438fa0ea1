"""Training steps at the size of room-64 on random tokens: `python -m tests.benchmarks.training PRECISION`."""

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import tyro
from accelerate import Accelerator

from hwm_env.data.reader import Dataset
from hwm_env.data.samples import ClipSamples
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.writer import DatasetWriter
from hwm_env.draws import seeds_of
from hwm_env.precision import TrainingPrecision
from hwm_env.training.world_model.estimate import training_cost
from hwm_env.training.world_model.loader import MicroBatches, load
from hwm_env.training.world_model.objective import arrange, draw_targets
from hwm_env.training.world_model.recipe import TRAINING_PRESETS
from hwm_env.training.world_model.trainee import Trainee, new_model

STEPS = 6


def peak_bytes() -> int:
    """Returns the peak memory of this process; getrusage would include that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def random_data(directory: Path, grid: tuple[int, int]) -> Dataset:
    rng = np.random.default_rng(0)
    writer = DatasetWriter(directory, token_grid=grid)
    writer.write_shard(
        0,
        states=rng.normal(size=(17 * 40, 25)).astype(np.float32),
        segments=np.zeros(17 * 40, np.int32),
        tokens=rng.integers(64_000, size=(40, 3, *grid), dtype=np.int32),
    )
    writer.finish()
    return Dataset(directory)


def main(precision: TrainingPrecision, /) -> None:
    model_config = TRAINING_PRESETS["room-64"].model
    config = replace(TRAINING_PRESETS["room-64"].training, precision=precision, steps=STEPS)
    with tempfile.TemporaryDirectory() as directory:
        data = random_data(Path(directory) / "data", model_config.grid_size)
        model = new_model(model_config, ActionStatistics.from_dataset(data), seed=0)
        before = peak_bytes()
        trainee = Trainee.prepare(model, config, Accelerator(cpu=True))
        samples = ClipSamples(data, *config.sample_clips(model_config))
        plan = MicroBatches(np.arange(len(samples)), config)
        targets = [
            draw_targets(
                arrange(trainee.model, batch, parallel_targets=True),
                seeds_of(0, step, plan.rows(0)),
                model_config.codebook_size,
                config.max_corruption,
            )
            for step, batch in enumerate(load(samples, plan, workers=0, device=torch.device("cpu")))
        ]
        estimated_s = trainee.rehearse(targets[0])
        began = time.perf_counter()
        for step, batch in enumerate(targets):
            trainee.step(step, [batch], stop=False)
        step_s = (time.perf_counter() - began) / STEPS
    cost = training_cost(model_config, config)
    result = {
        "peak_gb": (peak_bytes() - before) / 1e9,
        "estimated_gb": cost.memory_bytes / 1e9,
        "kept_gb": cost.activation_bytes / 1e9,
        "step_s": step_s,
        "estimated_s": estimated_s,
        "targets_per_s": config.batch_size * model_config.num_past_clips / step_s,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    tyro.cli(main)
