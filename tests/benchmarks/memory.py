"""Measures the peak memory of simulating one world, in its own process: `python -m tests.benchmarks.memory PRESET`."""

import resource

import torch
import tyro

from hwm_env.decoding.cache import next_clip
from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.maskgit import decode_clip
from hwm_env.model.precision import Precision, convert
from tests.benchmarks.worlds import NUM_CODES, random_past, untrained


@torch.no_grad()
def main(preset: str, /, precision: Precision = "float32") -> None:
    """Encodes a history, takes one env step, and prints the peak in GB (10^9 bytes)."""
    model = convert(untrained(preset), precision)
    past = random_past(model)
    predict = next_clip(model, past.tokens, past.actions, past.chunk)
    shape = (1, 3, *model.config.grid_size)
    config = DecodingConfig(steps=8, temperature=0.0)
    decode_clip(predict, model.head, shape, config, None, torch.device("cpu"), num_codes=NUM_CODES)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


if __name__ == "__main__":
    tyro.cli(main)
