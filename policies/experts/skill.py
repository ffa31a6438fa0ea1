"""Skills of experts: noisy, biased or delayed observations of the goal, and a wrong gain of the wheels."""

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
    """The flaws of an expert; none by default."""

    noise: NotNegative = 0.0
    """Standard deviation of the goal's observed direction (rad), independent in each env step."""
    bias: float = 0.0
    """Error of the goal's observed direction (rad), positive to the left."""
    delay: CountOrZero = 0
    """Age of the observed goal in env steps."""
    gain: NotNegative = 1.0
    """Factor of the wheels' velocities."""

    def __str__(self) -> str:
        """Lists the differences from a perfect expert."""
        flaws = [f"{field.name} {getattr(self, field.name):g}" for field in fields(self) if self._is_flaw(field.name)]
        return ", ".join(flaws) or "perfect"

    def _is_flaw(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(PERFECT, name))


PERFECT: Final = Skill()
GRADES: Final = tuple(
    Skill(noise=noise, bias=bias, delay=delay, gain=gain)
    for noise, bias, delay, gain in product((0.0, 0.3, 0.8), (0.0, 0.4), (0, 1), (1.0, 0.6))
)
"""24 skills, from perfect to nearly random."""


class Impaired:
    """A controller with the flaws of a skill.

    Args:
        controller: the perfect controller.
        skill: its flaws.
        rng: source of the noise.
    """

    def __init__(self, controller: Controller, skill: Skill, rng: np.random.Generator) -> None:
        self._controller = controller
        self._skill = skill
        self._rng = rng
        self._seen: deque[Float32Array] = deque(maxlen=skill.delay + 1)

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """Returns the target values of the next clip; see Controller."""
        self._seen.append(goal)
        error_rad = self._skill.bias + self._skill.noise * self._rng.standard_normal()
        wanted = self._controller.target(state, turned(self._seen[0], error_rad)).copy()
        wanted[[LINEAR_VELOCITY, ANGULAR_VELOCITY]] *= self._skill.gain
        return wanted


def turned(goal: Float32Array, angle_rad: float) -> Float32Array:
    """Turns an observed goal to the left by an angle.

    Args:
        goal: one or two triples whose first two numbers are components ahead and to the left, as all tasks of the
            reference world encode goals.
        angle_rad: the angle.
    """
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    triples = goal.reshape(-1, 3).copy()
    triples[:, :2] = triples[:, :2] @ np.array([[cos, sin], [-sin, cos]], np.float32)
    return triples.reshape(-1)
