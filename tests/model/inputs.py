"""Random inputs for a tiny model."""

from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.types import FRAMES_PER_LATENT


class Inputs(NamedTuple):
    v_p: Tensor
    v_f: Tensor
    a_p: Tensor
    a_f: Tensor


def awake(model: MaskedHWM) -> MaskedHWM:
    """Sets every parameter that starts at zero to a random value, so that each has an effect."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()


def random_inputs(model: MaskedHWM, *, batch: int = 2, past: int = 3, future: int = 1, seed: int = 0) -> Inputs:
    """Returns random streams in the public layout, half of the future masked; with `past_latents`, of one clip."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config

    def tokens(latents: int, clips: int) -> Tensor:
        return torch.randint(config.codebook_size, (batch, latents, clips, *config.grid_size), generator=generator)

    def actions(frames: int) -> Tensor:
        return torch.randn(batch, frames, 25, generator=generator)

    if config.past_latents is None:
        sizes, frames = ((3, past), (3, future)), (17 * past, 17 * future)
    else:
        known = config.past_latents
        sizes, frames = ((known, 1), (3 - known, 1)), (sum(FRAMES_PER_LATENT[:known]), sum(FRAMES_PER_LATENT[known:]))
    v_p, v_f = (tokens(*size) for size in sizes)
    v_f[torch.rand(v_f.shape, generator=generator) < 0.5] = config.mask_token
    return Inputs(v_p, v_f, *(actions(count) for count in frames))
