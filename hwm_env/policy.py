"""What a policy is: what it sees and sends, and how it acts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hwm_env.envs.config import ActionMode, Controls, ImageSide, NumFrames, ObsMode
from hwm_env.envs.episodes import Episode
from hwm_env.envs.world import World
from hwm_env.fields import CheckedFields
from hwm_env.tasks.base import RecordedHistory
from hwm_env.types import FRAMES_PER_CLIP


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface(CheckedFields):
    """The arguments of these names that a policy's environments are made with (see EnvConfig)."""

    obs_mode: ObsMode = "pixels"
    image_size: ImageSide | None = None
    num_frames: NumFrames = FRAMES_PER_CLIP
    action_mode: ActionMode = "chunk"
    normalized_actions: bool = False
    controls: Controls | None = None


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
    def interface(self) -> Interface:
        """What it sees and sends."""
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

    def begin(self, world: World[Any], histories: Sequence[RecordedHistory], episodes: Sequence[Episode[Any]]) -> None:
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
