"""A head whose features are its logits, so that decoding is tested with known logits."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from hwm_env.model.config import MaskedHWMConfig
from hwm_env.model.heads import CodebookHead


def transparent_head(
    levels: tuple[int, ...], grid: tuple[int, int] = (2, 3), kind: Literal["factored", "joint"] = "factored"
) -> CodebookHead:
    """Returns a head whose logits are the first numbers of each vector."""
    config = MaskedHWMConfig(num_heads=1, width=4, fsq_levels=levels, grid_size=grid, codebook_head=kind)
    outputs = sum(config.head_levels)
    config = replace(config, width=4 * -(-outputs // 4))
    head = CodebookHead(config.head_levels, config.width, config.future_latents, config.grid_size[0])
    with torch.no_grad():
        head.project.weight.copy_(torch.eye(outputs, config.width).repeat(config.future_latents, 1))
        head.project.bias.zero_()
    return head.requires_grad_(False)


def as_features(logits: Tensor, head: CodebookHead) -> Tensor:
    """Returns the features [..., S, D] that the head maps to logits [..., H, W, n]."""
    return pad(logits, (0, head.project.in_features - logits.shape[-1])).flatten(-3, -2)
