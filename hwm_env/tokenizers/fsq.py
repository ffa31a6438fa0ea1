"""Finite scalar quantisation (Mentzer et al., arXiv 2309.15505): tokens are mixed-radix numbers of small digits."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hwm_env.errors import InvalidInputError
from hwm_env.torch_state import plain_torch
from hwm_env.types import Float32Array


class FSQ(nn.Module):
    """Maps between tokens, digits and values, and rounds unbounded numbers to digits.

    A token is `sum over i of digit_i * prod(levels[:i])`: the first digit runs fastest, as in the paper's code.
    The values of a digit are evenly spread over [-1, 1], whether its levels are even or odd in number; the paper's are
    shifted by half a step for even ones, so that one of them is 0 (`[-4..3] / 4` for 8 levels).

    Attributes:
        codebook_size: number of codes (V).
    """

    codebook_size: int
    levels: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        """Sets up the tables.

        Args:
            levels: number of levels of each digit, the fastest-running digit first; each at least 2.

        Raises:
            InvalidInputError: there are no digits, or one has fewer than two levels.
        """
        super().__init__()
        if not levels or min(levels) < 2:
            raise InvalidInputError(f"FSQ levels must be integers of at least 2, got {tuple(levels)}")
        self.codebook_size = math.prod(levels)
        basis = [math.prod(levels[:index]) for index in range(len(levels))]
        self.register_buffer("levels", torch.tensor(tuple(levels)), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def codes_to_digits(self, tokens: Tensor) -> Tensor:
        """Tokens int [...] in [0, V) to digits int64 [..., n]."""
        return torch.div(tokens.long()[..., None], self.basis, rounding_mode="floor") % self.levels

    def digits_to_codes(self, digits: Tensor) -> Tensor:
        """Digits int [..., n] to tokens int64 [...]."""
        return (digits.long() * self.basis).sum(dim=-1)

    def digits_to_values(self, digits: Tensor) -> Tensor:
        """Digits int [..., n] to float32 values [..., n]: 2 * digit / (level - 1) - 1."""
        return digits.float() * (2.0 / (self.levels - 1)) - 1.0

    def quantise(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Rounds to the nearest digits, with a straight-through gradient.

        tanh maps the real line to an interval of `level` bins of equal width, one around each value; the paper's bins
        at both ends have half that width.

        Args:
            latents: float [..., n], unbounded; computed with in float32 whatever their type.

        Returns:
            The digits' values, float32 [..., n], whose gradient is that of the bounded latents before rounding, and the
            digits, int64 [..., n].
        """
        steps = self.levels - 1
        bounded = torch.tanh(latents.float()) * (self.levels / steps)
        # The ends of the interval round half a step beyond the outermost digits.
        digits = ((bounded.detach() + 1) / 2 * steps).round().clamp(min=torch.zeros_like(steps), max=steps).long()
        return bounded + (self.digits_to_values(digits) - bounded).detach(), digits


@plain_torch()
def latents_of(tokens: Tensor, levels: Sequence[int]) -> Float32Array:
    """What tokens stand for.

    Args:
        tokens: int [...].
        levels: of each digit of a token.

    Returns:
        The values of their digits, float32 [..., n], in [-1, 1].
    """
    fsq = FSQ(levels).to(tokens.device)
    values: Float32Array = fsq.digits_to_values(fsq.codes_to_digits(tokens)).cpu().numpy()
    return values
