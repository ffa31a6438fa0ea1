"""Moments made by hand, and what tokens stand for, counted digit by digit."""

import itertools
import math
from types import SimpleNamespace

import numpy as np

LEVELS = (8, 8, 8, 5, 5, 5)
"""Of the tiny checkpoint's tokenizer."""


def seen(tokens: np.ndarray | None = None, **content: np.ndarray) -> SimpleNamespace:
    """A moment of which only some parts are known."""
    if tokens is not None:
        content |= {"tokens": tokens, "latents": naive_latents(tokens)}
    return SimpleNamespace(**content)


def naive_latents(tokens: np.ndarray) -> np.ndarray:
    """Digits of a mixed-radix number, the first one running fastest, spread over -1..1."""
    values = np.empty((*tokens.shape, len(LEVELS)), np.float32)
    for place, token in np.ndenumerate(tokens):
        rest = int(token)
        for index, level in enumerate(LEVELS):
            rest, digit = divmod(rest, level)
            values[(*place, index)] = 2 * digit / (level - 1) - 1
    return values


def naive_latent_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference of what the last latents of two clips' tokens [3, h, w] stand for."""
    pairs = itertools.starmap(
        lambda a, b: (float(a) - float(b)) ** 2,
        zip(naive_latents(one[-1]).ravel(), naive_latents(other[-1]).ravel(), strict=True),
    )
    squares = list(pairs)
    return math.sqrt(sum(squares) / len(squares))


def random_tokens(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(math.prod(LEVELS), size=shape, dtype=np.int32)
