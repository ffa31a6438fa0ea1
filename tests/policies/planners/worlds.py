"""A world with one coordinate, which moves with the linear velocity and optional noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from hwm_env.reference import robot
from hwm_env.reference.kinematics import LARGEST_CHANGE
from hwm_env.tasks.base import Outcome, RecordedHistory
from hwm_env.types import LINEAR_VELOCITY, Float32Array


@dataclass(frozen=True)
class Place:
    x: float
    measured: Any
    seed: int = 0
    steps: int = 0
    confidence: float = -1.0
    tokens: Any = None
    readout: Any = ()
    """Known, whatever it is."""

    @property
    def pose(self) -> Float32Array:
        return np.array([self.x, 0.0, 0.0], np.float32)


class Line:
    """Moves by the mean velocity of a chunk; noise depends on the seed alone."""

    checkpoint = SimpleNamespace(
        statistics=SimpleNamespace(low=robot.ACTION_LOW, high=robot.ACTION_HIGH, max_change=LARGEST_CHANGE)
    )

    def __init__(self, noise: float = 0.0, identity: str = "line") -> None:
        self.identity = identity
        self.begun: list[RecordedHistory] = []
        self._noise = noise

    def reseeded(self, moment: Place, seed: int) -> Place:
        return replace(moment, seed=seed)

    def step(self, moments: Sequence[Place], chunks: Float32Array) -> list[Place]:
        return [
            replace(
                moment,
                x=moment.x + float(chunk[:, LINEAR_VELOCITY].mean()) + self._drift(moment),
                measured=chunk,
                steps=moment.steps + 1,
            )
            for moment, chunk in zip(moments, chunks, strict=True)
        ]

    def begin(self, histories: Sequence[RecordedHistory], seeds: Sequence[int]) -> list[Place]:
        self.begun += histories
        return [
            Place(float(history.tokens[-1].item()), history.actions[-1], seed)
            for history, seed in zip(histories, seeds, strict=True)
        ]

    def _drift(self, moment: Place) -> float:
        return self._noise * float(np.random.default_rng([moment.seed % 2**32, moment.steps]).standard_normal())


@dataclass(frozen=True)
class Arrive:
    """Rewards approaching a place; arriving ends the episode."""

    x: float
    radius: float = 0.05

    def evaluate(self, previous: Place, now: Place, elapsed_steps: int) -> Outcome:
        before, after = abs(previous.x - self.x), abs(now.x - self.x)
        success = after <= self.radius
        return Outcome({"progress": before - after, "success": 5.0 * success}, success=success, terminated=success)
