"""Scripted experts as policies: `policies.experts.expert:expert` and `:graded_experts` on a command line."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.policy import Interface
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
"""By task, who controls a robot; from a source of choices."""


class Expert:
    """Knows how a task is done, and does it as well as its skill allows.

    It sees what every policy with `obs_mode="state"` sees: the robot's numbers and the goal. It knows no map.

    Args:
        task: name of a task of the reference room.
        skill: how well.

    Raises:
        InvalidInputError: there is no expert for this task.
    """

    interface: Final = Interface(obs_mode="state")

    def __init__(self, task: str, skill: Skill = PERFECT) -> None:
        if task not in CONTROLLERS:
            raise InvalidInputError(f"there are experts for {', '.join(CONTROLLERS)}; got {task!r}")
        self._make_controller = CONTROLLERS[task]
        self._skill = skill

    @property
    def name(self) -> str:
        """What is wrong with it."""
        return f"expert, {self._skill}"

    def reset(self, seeds: Sequence[int]) -> None:
        """See Policy."""
        rngs = [np.random.default_rng(seed) for seed in seeds]
        self._controllers = [Impaired(self._make_controller(rng), self._skill, rng) for rng in rngs]

    def act(self, observations: Sequence[Mapping[str, Any]]) -> Float32Array:
        """Chunks [B, 17, 25]; see Policy."""
        states = np.stack([observation["state"] for observation in observations])
        targets = [
            controller.target(observation["state"], observation["goal"])
            for controller, observation in zip(self._controllers, observations, strict=True)
        ]
        return follow(states, np.stack(targets))


def expert(task: str) -> Expert:
    """The best there is."""
    return Expert(task)


def graded_experts(task: str) -> list[Expert]:
    """One of each grade."""
    return [Expert(task, skill) for skill in GRADES]
