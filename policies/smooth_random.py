"""A policy that moves at random, but smoothly."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from hwm_env.policy import SCRIPTED, Interface
from hwm_env.types import ACTION_DIM, Float32Array

MEMORY: Final = 0.7
"""Correlation of successive changes."""
SCALE: Final = 0.3
"""Standard deviation of changes, as a share of the training data's largest ones."""


class SmoothRandom:
    """Changes every number by correlated noise, an autoregressive process of the first order.

    A change is spread over the 17 frames of a clip, so that nothing moves faster than in the training data.
    """

    name: Final = "smooth random"
    family: Final = SCRIPTED
    interface: Final = Interface(obs_mode="state", action_mode="delta", normalized_actions=True)

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins the noise of each row; see Policy."""
        self._rngs = [np.random.default_rng(seed) for seed in seeds]
        self._changes = SCALE * np.stack([rng.standard_normal(ACTION_DIM) for rng in self._rngs])

    def act(self, observations: Sequence[Any]) -> Float32Array:
        """Returns the next normalised changes of each row, float32 [B, 25]."""
        actions = np.clip(self._changes, -1, 1).astype(np.float32)
        new = SCALE * np.stack([rng.standard_normal(ACTION_DIM) for rng in self._rngs])
        self._changes = MEMORY * self._changes + math.sqrt(1 - MEMORY**2) * new
        return actions


def smooth_random(task: str) -> SmoothRandom:
    """Makes the policy, which is the same for all tasks."""
    return SmoothRandom()
