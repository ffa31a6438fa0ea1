"""Scripted experts as policies: `policies.experts.expert:expert` and `:graded_experts` on a command line."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.policy import SCRIPTED, Interface
from hwm_env.tasks.registry import kind_of
from hwm_env.types import Float32Array
from policies.experts.controller import Controller
from policies.experts.driving import DriveToTargetController, FaceTargetController
from policies.experts.looking import LookAtController
from policies.experts.reaching import ReachCubeController
from policies.experts.skill import GRADES, PERFECT, Impaired, Skill
from policies.following import follow

CONTROLLERS: Final[Mapping[str, Callable[[np.random.Generator], Controller]]] = {
    "face-target": lambda _: FaceTargetController(),
    "drive-to-target": DriveToTargetController,
    "look-at": lambda _: LookAtController(),
    "reach-cube": ReachCubeController,
}
"""By task, a function that makes the controller of one episode from a source of random choices."""


class Expert:
    """A scripted policy for a task of the reference world, as good as its skill allows.

    It observes the state and the goal, as every policy with `obs_mode="state"`; it has no map.

    Args:
        task: name of the task.
        skill: the expert's flaws; none by default.

    Raises:
        InvalidInputError: there is no expert for this task.
    """

    family: Final = SCRIPTED
    interface: Final = Interface(obs_mode="state")

    def __init__(self, task: str, skill: Skill = PERFECT) -> None:
        if kind_of(task) not in CONTROLLERS:
            raise InvalidInputError(f"task must be one of {', '.join(CONTROLLERS)} for an expert, got {task!r}")
        self._make_controller = CONTROLLERS[kind_of(task)]
        self._skill = skill

    @property
    def name(self) -> str:
        """Name with the expert's flaws."""
        return f"expert, {self._skill}"

    def reset(self, seeds: Sequence[int]) -> None:
        """Makes a controller for each row; see Policy."""
        rngs = [np.random.default_rng(seed) for seed in seeds]
        self._controllers = [Impaired(self._make_controller(rng), self._skill, rng) for rng in rngs]

    def act(self, observations: Sequence[Mapping[str, Any]]) -> Float32Array:
        """Returns the next chunk of each row, float32 [B, 17, 25]."""
        states = np.stack([observation["state"] for observation in observations])
        targets = [
            controller.target(observation["state"], observation["goal"])
            for controller, observation in zip(self._controllers, observations, strict=True)
        ]
        return follow(states, np.stack(targets))


def expert(task: str) -> Expert:
    """Makes the perfect expert for a task."""
    return Expert(task)


def graded_experts(task: str) -> list[Expert]:
    """Makes an expert of each grade for a task."""
    return [Expert(task, skill) for skill in GRADES]
