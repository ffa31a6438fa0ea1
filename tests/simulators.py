"""Simulators around a given model, for tests that decode no frames."""

from dataclasses import dataclass
from typing import Any, cast

import torch

from hwm_env.checkpoint import Checkpoint
from hwm_env.decoding.config import DecodingConfig
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.scene.scene import Scene
from hwm_env.simulator import WorldSimulator
from hwm_env.starts import Starts


@dataclass
class NoTokenizer:
    """A tokenizer with a codebook that can neither encode nor decode."""

    fsq_levels: tuple[int, ...]
    codebook_size: int


def simulator_of(
    model: MaskedHWM,
    decoding: DecodingConfig | None = None,
    num_codes: int | None = None,
    scene: Scene | None = None,
) -> WorldSimulator:
    """Returns a simulator without starts; `num_codes` gives its tokenizer fewer codes than the model's vocabulary."""
    config = model.config
    tokenizer = cast(Any, NoTokenizer(config.fsq_levels, num_codes or config.codebook_size))
    starts = Starts(torch.zeros(0, 1, 3, *config.grid_size, dtype=torch.int32), torch.zeros(0, 1, 17, 25), None)
    return WorldSimulator(Checkpoint(model, tokenizer, cast(Any, None), starts, scene=scene), decoding)
