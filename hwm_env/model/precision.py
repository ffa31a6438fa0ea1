"""Smaller number types for inference: half the memory, or a quarter of a matrix product's work."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from hwm_env.errors import InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.precision import resolve_precision

Precision = Literal["auto", "float32", "bfloat16", "int8"]


class Int8Linear(nn.Module):
    """A linear layer in whole numbers: weights rounded once, a scale an output; inputs at each call, a scale a row.

    After LLM.int8() (Dettmers et al., arXiv 2208.07339), without its part for outliers.
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
        product = torch._int_mm(quantised, self.weight).to(x_D.dtype) * (scale * self.scale)
        if self.bias is not None:
            product = product + self.bias
        return product.view(*x_D.shape[:-1], -1)


def rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers [N, C] as int8 of the same shape times a scale a row [N, 1]."""
    scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny) / 127
    return (rows / scale).round().to(torch.int8), scale


def convert(model: MaskedHWM, precision: Precision) -> MaskedHWM:
    """Changes a model, in place, for inference in another number type.

    `float32` and `bfloat16` turn all weights into them; rotations, action statistics and logits stay float32. `int8`
    replaces the linear layers of the blocks; embeddings and heads stay. `auto` is `bfloat16` where the model's device
    has it in hardware, else `float32`.

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
        # The modulation runs once a clip on a single row, where whole numbers save nothing.
        if isinstance(child, nn.Linear) and name != "modulation":
            setattr(module, name, Int8Linear(child))
        else:
            _replace_linear(child)
