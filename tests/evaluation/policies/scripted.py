"""Small policies with different results, for tests: `tests.evaluation.policies.scripted:...` on command lines."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hwm_env.policy import Interface
from hwm_env.types import ACTION_DIM, ANGULAR_VELOCITY


class Turner:
    """Turns at a constant speed, with independent noise in each row."""

    interface = Interface(obs_mode="state", action_mode="hold")

    def __init__(self, speed: float) -> None:
        self.name = f"turns {speed:g} rad/s"
        self._speed = speed

    def reset(self, seeds: Sequence[int]) -> None:
        self._rngs = [np.random.default_rng(seed) for seed in seeds]

    def act(self, observations: Sequence[Any]) -> npt.NDArray[np.float32]:
        assert len(observations) == len(self._rngs)
        actions = np.stack([observation["state"] for observation in observations])
        actions[:, ANGULAR_VELOCITY] = [self._speed + rng.uniform(-0.1, 0.1) for rng in self._rngs]
        return actions


class Broken(Turner):
    """Returns invalid actions from its third step on."""

    def __init__(self, gives: Any) -> None:
        super().__init__(0.1)
        self.name = "broken"
        self._gives = gives

    def reset(self, seeds: Sequence[int]) -> None:
        super().reset(seeds)
        self._step = 0

    def act(self, observations: Sequence[Any]) -> npt.NDArray[np.float32]:
        self._step += 1
        broken: npt.NDArray[np.float32] = self._gives
        return super().act(observations) if self._step < 3 else broken


def turners(task: str) -> list[Turner]:
    """Makes three policies."""
    return [Turner(speed) for speed in (-0.5, 0.0, 0.5)]


class Checkpoint(Turner):
    """One of several policies of a training run."""

    def __init__(self, speed: float, family: Any) -> None:
        super().__init__(speed)
        self.family = family


def checkpoints(task: str, family: Any = "run 0") -> list[Checkpoint]:
    """Makes two policies of one run; an empty text stands for a family that is none."""
    return [Checkpoint(speed, family or None) for speed in (0.1, 0.2)]


def nan(task: str) -> Broken:
    """Makes a policy that fails."""
    return Broken(np.full((3, ACTION_DIM), np.nan, np.float32))


def nothing(task: str) -> object:
    """Returns an object that is no policy."""
    return object()
