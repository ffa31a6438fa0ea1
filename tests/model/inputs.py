"""Random inputs for a tiny model."""

from typing import NamedTuple

import torch
from torch import Tensor

from hwm_env.model.masked_hwm import MaskedHWM


class Inputs(NamedTuple):
    v_p: Tensor
    v_f: Tensor
    a_p: Tensor
    a_f: Tensor


def awake(model: MaskedHWM) -> MaskedHWM:
    """Gives every parameter that starts from zero a value, so that nothing is invisible only for being untrained."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()


def random_inputs(model: MaskedHWM, *, batch: int = 2, past: int = 3, future: int = 1, seed: int = 0) -> Inputs:
    """Random streams in the public layout; the future is half masked."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config

    def tokens(clips: int) -> Tensor:
        return torch.randint(config.codebook_size, (batch, 3, clips, *config.grid_size), generator=generator)

    def actions(clips: int) -> Tensor:
        return torch.randn(batch, 17 * clips, 25, generator=generator)

    v_p, v_f = tokens(past), tokens(future)
    v_f[torch.rand(v_f.shape, generator=generator) < 0.5] = config.mask_token
    return Inputs(v_p, v_f, actions(past), actions(future))
