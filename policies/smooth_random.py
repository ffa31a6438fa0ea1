"""Acts at random: what a robot does that nobody steers."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from hwm_env.policy import Interface
from hwm_env.types import ACTION_DIM, Float32Array

MEMORY: Final = 0.7
"""How much of a change stays in the next one."""
SCALE: Final = 0.3
"""Standard deviation of changes, as a share of the fastest ones of the training data."""


class SmoothRandom:
    """Changes every number by noise that is alike from step to step (autoregressive, of the first order).

    A change is spread over the 17 frames of a clip, so that nothing moves faster than anything in the training data.
    """

    name: Final = "smooth random"
    interface: Final = Interface(obs_mode="state", action_mode="delta", normalized_actions=True)

    def reset(self, seeds: Sequence[int]) -> None:
        """See Policy."""
        self._rngs = [np.random.default_rng(seed) for seed in seeds]
        self._changes = SCALE * np.stack([rng.standard_normal(ACTION_DIM) for rng in self._rngs])

    def act(self, observations: Sequence[Any]) -> Float32Array:
        """Changes [B, 25]; see Policy."""
        actions = np.clip(self._changes, -1, 1).astype(np.float32)
        new = SCALE * np.stack([rng.standard_normal(ACTION_DIM) for rng in self._rngs])
        self._changes = MEMORY * self._changes + math.sqrt(1 - MEMORY**2) * new
        return actions


def smooth_random(task: str) -> SmoothRandom:
    """The same for all tasks."""
    return SmoothRandom()
