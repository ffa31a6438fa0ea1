"""Finite scalar quantisation (Mentzer et al., arXiv 2309.15505), in which tokens are mixed-radix numbers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hwm_env.errors import InvalidInputError
from hwm_env.torch_state import plain_torch
from hwm_env.types import Float32Array


class FSQ(nn.Module):
    """Converts between tokens, digits and values, and rounds unbounded numbers to digits.

    A token is `sum over i of digit_i * prod(levels[:i])`: the first digit runs fastest, as in the paper's code. The
    values of a digit are evenly spread over [-1, 1]. The paper shifts them by half a step for an even number of levels,
    so that one of them is 0 (`[-4..3] / 4` for 8 levels).

    Attributes:
        codebook_size: number of codes (V).
    """

    codebook_size: int
    levels: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        """Creates the tables.

        Args:
            levels: number of levels of each digit, the fastest-running digit first; each at least 2.

        Raises:
            InvalidInputError: there are no digits, or a digit has fewer than two levels.
        """
        super().__init__()
        if not levels or min(levels) < 2:
            raise InvalidInputError(f"FSQ levels must be integers of at least 2, got {tuple(levels)}")
        self.codebook_size = math.prod(levels)
        basis = [math.prod(levels[:index]) for index in range(len(levels))]
        self.register_buffer("levels", torch.tensor(tuple(levels)), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def codes_to_digits(self, tokens: Tensor) -> Tensor:
        """Converts tokens int [...] in [0, V) to digits int64 [..., n]."""
        return torch.div(tokens.long()[..., None], self.basis, rounding_mode="floor") % self.levels

    def digits_to_codes(self, digits: Tensor) -> Tensor:
        """Converts digits int [..., n] to tokens int64 [...]."""
        return (digits.long() * self.basis).sum(dim=-1)

    def digits_to_values(self, digits: Tensor) -> Tensor:
        """Converts digits int [..., n] to float32 values [..., n]: 2 * digit / (level - 1) - 1."""
        return digits.float() * (2.0 / (self.levels - 1)) - 1.0

    def quantise(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Rounds to the nearest digits, with a straight-through gradient.

        tanh maps the real line to an interval of `level` bins of equal width, one around each value; the paper's bins
        at both ends have half that width.

        Args:
            latents: float [..., n], unbounded; converted to float32.

        Returns:
            The values of the digits, float32 [..., n], with the gradient of the bounded latents before rounding; and
            the digits, int64 [..., n].
        """
        steps = self.levels - 1
        bounded = torch.tanh(latents.float()) * (self.levels / steps)
        # The ends of the interval would round to half a step beyond the outermost digits.
        digits = ((bounded.detach() + 1) / 2 * steps).round().clamp(min=torch.zeros_like(steps), max=steps).long()
        return bounded + (self.digits_to_values(digits) - bounded).detach(), digits


@plain_torch()
def latents_of(tokens: Tensor, levels: Sequence[int]) -> Float32Array:
    """Returns the values of the digits of tokens.

    Args:
        tokens: int [...].
        levels: number of levels of each digit of a token.

    Returns:
        float32 [..., n], in [-1, 1].
    """
    fsq = FSQ(levels).to(tokens.device)
    values: Float32Array = fsq.digits_to_values(fsq.codes_to_digits(tokens)).cpu().numpy()
    return values
