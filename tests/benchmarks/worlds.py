"""Untrained models in which all layers have an effect, and histories for them."""

from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import MODEL_PRESETS
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, LATENTS_PER_CLIP

NUM_CODES = 64_000
"""Codes of the Cosmos tokenizer, whatever the model's vocabulary."""


class Past(NamedTuple):
    """A history and the next chunk."""

    tokens: Tensor
    actions: Tensor
    chunk: Tensor


def untrained(preset: str) -> MaskedHWM:
    """Makes a model whose layers all have an effect: those that start from zero are drawn too."""
    generator = torch.Generator().manual_seed(0)
    model = MaskedHWM(MODEL_PRESETS[preset], generator)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02, generator=generator)
    return model.eval()


def random_past(model: MaskedHWM, clips: int = 9) -> Past:
    """Makes a history of one row."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(NUM_CODES, (1, clips, LATENTS_PER_CLIP, *model.config.grid_size), generator=generator)
    actions = torch.randn(1, clips + 1, FRAMES_PER_CLIP, ACTION_DIM, generator=generator)
    return Past(tokens.int(), actions[:, :-1], actions[:, -1])
