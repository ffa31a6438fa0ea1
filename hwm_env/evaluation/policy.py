"""What can be evaluated: policies, and how they are named on a command line."""

import importlib
import inspect
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hwm_env.envs.config import ActionMode, ObsMode
from hwm_env.envs.episodes import Episode
from hwm_env.envs.world import World
from hwm_env.errors import InvalidInputError
from hwm_env.tasks.base import History


class Policy(Protocol):
    """Turns observations into actions, for any number of worlds at once; the same object drives learned and reference
    worlds.

    What it decides in one world never depends on the others: evaluating worlds together or apart gives the same.
    """

    @property
    def name(self) -> str:
        """For reports; says what makes it differ from other policies of its kind."""
        ...

    @property
    def obs_mode(self) -> ObsMode:
        """What it looks at: the argument that its environments are made with."""
        ...

    @property
    def action_mode(self) -> ActionMode:
        """What its actions mean: the argument that its environments are made with."""
        ...

    @property
    def normalized_actions(self) -> bool:
        """Whether it sends actions in [-1, 1] in place of physical units."""
        ...

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode in each of `len(seeds)` worlds; equal seeds and observations mean equal actions."""
        ...

    def act(self, observations: Sequence[Any]) -> npt.NDArray[np.float32]:
        """The actions for the env's next step.

        Args:
            observations: one for each world, of the env's observation space. Worlds whose episode is over are still
                asked, with their last observation, and their actions are ignored.

        Returns:
            float32 [B, *action shape].
        """
        ...


@runtime_checkable
class Planner(Protocol):
    """What a policy has besides, if it plans: it may look at the worlds themselves, not at observations only."""

    def begin(self, world: World[Any], histories: Sequence[History], episodes: Sequence[Episode[Any]]) -> None:
        """Called after `reset`.

        Args:
            world: in which it acts.
            histories: what the episodes begin after, one for each world.
            episodes: where the worlds stand.
        """
        ...

    def watch(self, episodes: Sequence[Episode[Any]]) -> None:
        """Called before each `act`: where the worlds stand now."""
        ...


def load_policies(reference: str, task: str) -> list[Policy]:
    """The policies that a name on the command line stands for.

    Args:
        reference: `module:factory`, a function of a task's name that gives a policy or several.
        task: the name.

    Raises:
        InvalidInputError: there is no such module or function, or what it gives is no policy.
    """
    module_name, separator, attribute = reference.partition(":")
    if not separator or not module_name or not attribute:
        raise InvalidInputError(f"a policy must be named module:factory, got {reference!r}")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(f"there is no policy {reference!r}: {error}") from error
    if not callable(factory):
        raise InvalidInputError(
            f"expected {reference!r} to be a function of a task's name, got {type(factory).__name__}"
        )
    try:
        inspect.signature(factory).bind(task)
    except TypeError as error:
        raise InvalidInputError(f"expected {reference!r} to be a function of a task's name: {error}") from error
    made = factory(task)
    policies = list(made) if isinstance(made, Sequence) else [made]
    for policy in policies:
        if missing := [name for name in _MEMBERS if not hasattr(policy, name)]:
            raise InvalidInputError(
                f"{reference!r} gave {type(policy).__name__}, which lacks {', '.join(missing)} of a policy"
            )
    return policies


_MEMBERS = ("name", "obs_mode", "action_mode", "normalized_actions", "reset", "act")
