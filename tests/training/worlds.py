"""Writes small data sets and models for trainings."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.importing import stand_in_tokenizer
from hwm_env.model.presets import TINY
from hwm_env.training.world_model.recipe import TWO_CORES

MODEL = replace(TINY, num_past_clips=2, grid_size=(2, 2), fsq_levels=(6, 2))
TOKENIZER = stand_in_tokenizer(MODEL.codebook_size)
"""An untrained tokenizer, whose frames differ if tokens do. Its weights are rounded as in a file."""
TOKENIZER.load_state_dict({name: weight.half() for name, weight in TOKENIZER.state_dict().items()})
RECIPE = replace(
    TWO_CORES,
    steps=6,
    batch_size=4,
    micro_batch_size=2,
    warmup_steps=2,
    report_every=2,
    validation_samples=4,
    preview_samples=2,
    own_predictions=0.0,
    precision="float32",
)


def write_world(directory: Path, num_clips: int = 12, seed: int = 0, *, with_poses: bool = False) -> Dataset:
    """Writes one segment of random tokens and actions, and poses if requested; an ankle never moves."""
    rng = np.random.default_rng(seed)
    writer = DatasetWriter(directory, token_grid=MODEL.grid_size, tokenizer=TOKENIZER.identity)
    frames = num_clips * 17
    states = rng.normal(size=(frames, 25)).astype(np.float32)
    states[:, 4] = 1.0
    writer.write_shard(
        0,
        states=states,
        segments=np.zeros(frames, np.int32),
        tokens=rng.integers(MODEL.codebook_size, size=(num_clips, 3, *MODEL.grid_size), dtype=np.int32),
        poses=rng.normal(size=(frames, 3)).astype(np.float32) if with_poses else None,
    )
    writer.finish()
    return Dataset(directory)
