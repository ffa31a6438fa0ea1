"""How well an expert does: what it sees too late or wrong, and how it oversteers."""

from collections import deque
from dataclasses import dataclass, fields
from itertools import product
from typing import Final

import numpy as np

from hwm_env.fields import CheckedFields, CountOrZero, NotNegative
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY, Float32Array
from policies.experts.controller import Controller


@dataclass(frozen=True, kw_only=True, slots=True)
class Skill(CheckedFields):
    """What is wrong with an expert; by default nothing."""

    noise: NotNegative = 0.0
    """Standard deviation of the direction in which it sees the goal, rad, drawn anew each env step."""
    bias: float = 0.0
    """By which it sees the goal too far to the left, rad."""
    delay: CountOrZero = 0
    """How many env steps old is what it sees."""
    gain: NotNegative = 1.0
    """What its wheel velocities are multiplied by."""

    def __str__(self) -> str:
        """What differs from a perfect expert."""
        flaws = [f"{field.name} {getattr(self, field.name):g}" for field in fields(self) if self._is_flaw(field.name)]
        return ", ".join(flaws) or "perfect"

    def _is_flaw(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(PERFECT, name))


PERFECT: Final = Skill()
GRADES: Final = tuple(
    Skill(noise=noise, bias=bias, delay=delay, gain=gain)
    for noise, bias, delay, gain in product((0.0, 0.3, 0.8), (0.0, 0.4), (0, 1), (1.0, 0.6))
)
"""24 of them, from perfect to nearly blind."""


class Impaired:
    """A controller that sees and steers as well as a skill allows.

    Args:
        controller: who controls.
        skill: how well.
        rng: of the noise.
    """

    def __init__(self, controller: Controller, skill: Skill, rng: np.random.Generator) -> None:
        self._controller = controller
        self._skill = skill
        self._rng = rng
        self._seen: deque[Float32Array] = deque(maxlen=skill.delay + 1)

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """See Controller."""
        self._seen.append(goal)
        error_rad = self._skill.bias + self._skill.noise * self._rng.standard_normal()
        wanted = self._controller.target(state, turned(self._seen[0], error_rad)).copy()
        wanted[[LINEAR_VELOCITY, ANGULAR_VELOCITY]] *= self._skill.gain
        return wanted


def turned(goal: Float32Array, angle_rad: float) -> Float32Array:
    """A goal as it would be seen further to the left by an angle.

    Args:
        goal: one or two triples whose first two numbers are ahead and to the left: what all tasks of the reference room
            show.
        angle_rad: how far.
    """
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    triples = goal.reshape(-1, 3).copy()
    triples[:, :2] = triples[:, :2] @ np.array([[cos, sin], [-sin, cos]], np.float32)
    return triples.reshape(-1)
