"""Plays the units of an evaluation: all trials of one policy at one task in one world."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from hwm_env.checkpoint import Checkpoint
from hwm_env.envs.learned import LearnedWorld
from hwm_env.envs.pose_world import PoseWorld
from hwm_env.envs.world import World
from hwm_env.evaluation.policies.painted_world import PaintedWorld
from hwm_env.evaluation.policies.trials import Case, Trial, play
from hwm_env.policy import Policy
from hwm_env.simulator import WorldSimulator

WorldName = Literal["true", "learned"]
LearnedAs = Literal["carried", "poses", "localiser", "network", "seen"]
"""What plays as the learned world; see EvaluationConfig."""
"""In which world a unit is played; "true" is the reference world."""
WORLDS: Final[tuple[WorldName, ...]] = ("true", "learned")


@dataclass(frozen=True, slots=True)
class Unit:
    """Trials of one policy at one task in one world."""

    task: str
    policy: str
    """Name of the policy."""
    world: WorldName
    part: int = 0
    """0 for the paired trials; the further ones of the learned world are divided into parts of as many."""


class Player:
    """Plays units, and keeps the worlds open between them.

    Args:
        checkpoint: the learned world; episodes begin at its starts in both worlds.
        policies: by task, the policies by name.
        max_steps: env steps after which an episode is truncated.
        learned_as: what plays as the learned world.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        policies: Mapping[str, Mapping[str, Policy]],
        max_steps: int,
        *,
        learned_as: LearnedAs = "carried",
    ) -> None:
        self._checkpoint = checkpoint
        self._policies = policies
        self._max_steps = max_steps
        self._learned_as = learned_as
        self._worlds: dict[WorldName, World[Any]] = {}
        self._open = ExitStack()

    def __enter__(self) -> "Player":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._worlds.clear()

    def play(self, unit: Unit, cases: Sequence[Case]) -> list[Trial]:
        """Plays an episode from each case; see `trials.play`."""
        return play(self.world(unit.world), self.policy(unit), unit.task, cases, self._max_steps)

    def policy(self, unit: Unit) -> Policy:
        """Returns the policy of a unit."""
        return self._policies[unit.task][unit.policy]

    def world(self, name: WorldName) -> World[Any]:
        """Returns a world, which is opened on first use."""
        if name not in self._worlds:
            if name == "true":
                self._worlds[name] = self._true()
            else:
                self._worlds[name] = self._seen() if self._learned_as == "seen" else self._learned()
        return self._worlds[name]

    def pictured(self, name: WorldName) -> World[Any]:
        """Returns a world with pictures: instead of poses alone the learned world, whose episodes are the same."""
        world = self.world(name)
        return world if world.has_pictures else cast(World[Any], LearnedWorld(self._simulator()))

    def _simulator(self) -> WorldSimulator:
        # Strict: a trial must not depend on the other trials of its batch.
        return WorldSimulator(self._checkpoint, strict=True)

    def _learned(self) -> World[Any]:
        simulator = self._simulator()
        match self._learned_as:
            case "poses":
                return cast(World[Any], PoseWorld(simulator))
            case "localiser" | "network":
                return cast(World[Any], PaintedWorld(simulator, self._learned_as))
            case _:
                return cast(World[Any], LearnedWorld(simulator))

    def _true(self) -> World[Any]:
        from hwm_env.envs.ground_truth import ReferenceGroundTruth

        return self._closed_later(ReferenceGroundTruth(self._checkpoint))

    def _seen(self) -> World[Any]:
        from hwm_env.evaluation.policies.seen_world import SeenWorld

        return self._closed_later(SeenWorld(self._checkpoint))

    def _closed_later(self, world: Any) -> World[Any]:
        self._open.callback(world.close)
        return cast(World[Any], world)
