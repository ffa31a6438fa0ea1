"""Random numbers as functions of a seed and a counter: the same on every device, for any division of a batch.

A row's numbers depend on its seed alone. They are computed for all rows in a few tensor operations, without a generator
whose state would have to be read. The function is the output of SplitMix64 (Steele et al., "Fast splittable
pseudorandom number generators", OOPSLA 2014).
"""

import math

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB
_FIRST = -0x40A7B892E31B1A47
_SECOND = -0x6B2FB644ECCEEE15
"""The 64-bit constants 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9 and 0x94D049BB133111EB as signed numbers."""


def seeds_of(seed: int, step: int, rows: range, device: torch.device | str = "cpu") -> Tensor:
    """Returns a seed for each row of a step, int64 [B], which depends on the row's index alone.

    Args:
        seed: seed of the run, 0..2^63 - 1.
        step: index of the step.
        rows: indices of the rows.
        device: device of the result.
    """
    of_step = seeds_at(*torch.tensor([seed, step], device=device))
    return _mixed(of_step + torch.arange(rows.start, rows.stop, device=device) * _GOLDEN)


def seeds_at(seeds_B: Tensor, steps_B: Tensor) -> Tensor:
    """Returns a seed for each row's own step: int64 [B] from a row's seed and the index of its step, int64 [B]."""
    return _mixed(_mixed(seeds_B + _GOLDEN) + steps_B * _GOLDEN)


def bits(seeds_B: Tensor, stream: int, shape: tuple[int, ...]) -> Tensor:
    """Returns 63 random bits for each element: int64 [B, *shape], at least 0.

    Args:
        seeds_B: int64 [B], one seed for each row.
        stream: number of the sequence, for independent draws from one seed.
        shape: shape of each row's numbers.
    """
    keys = _mixed(seeds_B + (stream + 1) * 0x632BE59BD9B4E019 % 2**63)
    counters = torch.arange(1, math.prod(shape) + 1, device=seeds_B.device) * _GOLDEN
    drawn: Tensor = _shifted(_mixed(keys[:, None] + counters), 1).view(len(seeds_B), *shape)
    return drawn


def uniform(seeds_B: Tensor, stream: int, shape: tuple[int, ...] = ()) -> Tensor:
    """Returns float32 [B, *shape], uniform in [0, 1), in multiples of 2^-24; arguments as for `bits`."""
    drawn: Tensor = (bits(seeds_B, stream, shape) >> 39).float() * 2.0**-24
    return drawn


def normal(seeds_B: Tensor, stream: int, shape: tuple[int, ...] = ()) -> Tensor:
    """Returns float32 [B, *shape], of mean 0 and standard deviation 1 (Box and Muller); arguments as for `bits`."""
    both = uniform(seeds_B, stream, (2, *shape))
    radius = (-2 * torch.log1p(-both[:, 0])).sqrt()
    drawn: Tensor = radius * (2 * math.pi * both[:, 1]).cos()
    return drawn


def _mixed(numbers: Tensor) -> Tensor:
    numbers = (numbers ^ _shifted(numbers, 30)) * _FIRST
    numbers = (numbers ^ _shifted(numbers, 27)) * _SECOND
    mixed: Tensor = numbers ^ _shifted(numbers, 31)
    return mixed


def _shifted(numbers: Tensor, by: int) -> Tensor:
    """Shifts all 64 bits to the right, without copies of the sign."""
    shifted: Tensor = (numbers >> by) & (2 ** (64 - by) - 1)
    return shifted
