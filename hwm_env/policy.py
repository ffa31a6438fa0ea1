"""The protocols of policies and planners, and the interface that a policy needs."""

from collections.abc import Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hwm_env.envs.config import Interface
from hwm_env.envs.episodes import Episode
from hwm_env.envs.world import World
from hwm_env.tasks.base import RecordedHistory

__all__ = ["SCRIPTED", "Interface", "Planner", "Policy"]

SCRIPTED: Final = "scripted"
"""Family of all policies that were not trained: experts of any skill, planners, recordings, noise."""


class Policy(Protocol):
    """Maps observations to actions for a batch of rows; the same object acts in learned and reference worlds.

    Rows do not influence each other: evaluating them together or one by one has the same result.

    Policies of one training run, such as its checkpoints, resemble each other, so that they tell less than independent
    ones. Such a policy has a third attribute `family`, a text that they share, or SCRIPTED; without it, a policy is a
    family of its own.
    """

    @property
    def name(self) -> str:
        """Name for reports; distinguishes the policy from others of its kind."""
        ...

    @property
    def interface(self) -> Interface:
        """The arguments that its environments are made with."""
        ...

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode in each of `len(seeds)` rows; equal seeds and observations give equal actions."""
        ...

    def act(self, observations: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Returns the actions for the next env step.

        Args:
            observations: one for each row, in the env's observation space. Rows whose episode is over keep their last
                observation, and their actions are ignored.

        Returns:
            float32 [B, *action shape].
        """
        ...


@runtime_checkable
class Planner(Protocol):
    """The additional methods of a policy that plans: it has access to the world itself besides observations."""

    def begin(self, world: World[Any], histories: Sequence[RecordedHistory], episodes: Sequence[Episode[Any]]) -> None:
        """Begins planning; called after `reset`.

        Args:
            world: the world in which it acts.
            histories: the history before each row's episode.
            episodes: the episode of each row at its beginning.
        """
        ...

    def watch(self, episodes: Sequence[Episode[Any]]) -> None:
        """Receives the present episode of each row; called before each `act`."""
        ...
