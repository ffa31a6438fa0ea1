"""Converts models to smaller number types for inference."""

from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from hwm_env.errors import InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.precision import resolve_precision

Precision = Literal["auto", "float32", "bfloat16", "int8"]
_FEWEST_ROWS: Final = 17
"""Fewest vectors that CUDA multiplies in int8."""


class Int8Linear(nn.Module):
    """A linear layer in int8: weights rounded once, with a scale per output; inputs at each call, with one per vector.

    Follows LLM.int8() (Dettmers et al., arXiv 2208.07339), without its treatment of outliers.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        quantised, scale = rounded(linear.weight.detach())
        self.register_buffer("weight", quantised.t().contiguous())
        self.register_buffer("scale", scale.squeeze(1))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().clone())

    def forward(self, x_D: Tensor) -> Tensor:
        """Maps [..., in] to [..., out]."""
        quantised, scale = rounded(x_D.reshape(-1, x_D.shape[-1]))
        num_rows = len(quantised)
        if quantised.is_cuda and num_rows < _FEWEST_ROWS:
            quantised = pad(quantised, (0, 0, 0, _FEWEST_ROWS - num_rows))
        product = torch._int_mm(quantised, self.weight)[:num_rows].to(x_D.dtype) * (scale * self.scale)
        if self.bias is not None:
            product = product + self.bias
        return product.view(*x_D.shape[:-1], -1)


def rounded(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Rounds vectors [N, C] to int8 [N, C] times a scale per vector [N, 1]."""
    scale = vectors.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny) / 127
    return (vectors / scale).round().to(torch.int8), scale


def convert(model: MaskedHWM, precision: Precision) -> MaskedHWM:
    """Converts a model in place for inference in another number type.

    `float32` and `bfloat16` convert all weights; rotations, action statistics and logits stay float32. `int8` replaces
    the linear layers of the blocks; embeddings and heads stay. `auto` means `bfloat16` if the model's device has it in
    hardware, else `float32`.

    Raises:
        InvalidInputError: there is no such precision.
    """
    if precision not in get_args(Precision):
        raise InvalidInputError(f"precision must be 'auto', 'float32', 'bfloat16' or 'int8', got {precision!r}")
    precision = resolve_precision(precision, next(model.parameters()).device)
    if precision in ("float32", "bfloat16"):
        for parameter in model.parameters():
            parameter.data = parameter.data.to(getattr(torch, precision))
    if precision == "int8":
        _replace_linear(model.blocks)
    return model


def _replace_linear(module: nn.Module) -> None:
    for name, child in module.named_children():
        # The modulation runs once per clip on a single vector, where int8 saves nothing.
        if isinstance(child, nn.Linear) and name != "modulation":
            setattr(module, name, Int8Linear(child))
        else:
            _replace_linear(child)
