"""The pieces that an evaluation of policies is divided into, and what plays them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from hwm_env.checkpoint import Checkpoint
from hwm_env.envs.learned import LearnedWorld
from hwm_env.envs.world import World
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.policies.loading import load_policies
from hwm_env.evaluation.policies.trials import Case, Trial, play
from hwm_env.policy import Policy
from hwm_env.simulator import WorldSimulator

WorldName = Literal["true", "learned"]
WORLDS: Final[tuple[WorldName, ...]] = ("true", "learned")


@dataclass(frozen=True, slots=True)
class Unit:
    """All trials of one policy at one task in one world."""

    task: str
    policy: str
    """Its name."""
    world: WorldName


class Player:
    """Plays units; keeps the worlds open from one to the next.

    Args:
        checkpoint: the learned world, whose starts both worlds begin at.
        policies: by task, the policies by name.
        max_steps: env steps after which an episode is over.
        seen: whether the reference world, seen through the checkpoint's read-out, takes the learned world's place.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        policies: Mapping[str, Mapping[str, Policy]],
        max_steps: int,
        *,
        seen: bool = False,
    ) -> None:
        self._checkpoint = checkpoint
        self._policies = policies
        self._max_steps = max_steps
        self._seen = seen
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
        """Who plays a unit."""
        return self._policies[unit.task][unit.policy]

    def world(self, name: WorldName) -> World[Any]:
        """A world, opened when first asked for."""
        if name not in self._worlds:
            if name == "true":
                self._worlds[name] = self._true()
            else:
                self._worlds[name] = self._seen_world() if self._seen else self._learned()
        return self._worlds[name]

    def _learned(self) -> World[Any]:
        # Strict: no trial may depend on which others are played with it.
        return cast(World[Any], LearnedWorld(WorldSimulator(self._checkpoint, strict=True)))

    def _true(self) -> World[Any]:
        from hwm_env.envs.ground_truth import ReferenceGroundTruth

        return self._closed_later(ReferenceGroundTruth(self._checkpoint))

    def _seen_world(self) -> World[Any]:
        from hwm_env.evaluation.policies.seen_world import SeenWorld

        return self._closed_later(SeenWorld(self._checkpoint))

    def _closed_later(self, world: Any) -> World[Any]:
        self._open.callback(world.close)
        return cast(World[Any], world)


def gather_policies(
    references: Sequence[str], tasks: Sequence[str], *, allow_zips: bool = True
) -> dict[str, dict[str, Policy]]:
    """The policies that names on a command line stand for: by task, then by name.

    Raises:
        InvalidInputError: a name means nothing, no policy is given, or two have the same name.
    """
    gathered: dict[str, dict[str, Policy]] = {}
    for task in tasks:
        policies = [
            policy for reference in references for policy in load_policies(reference, task, allow_zips=allow_zips)
        ]
        names = [policy.name for policy in policies]
        if not policies or len(set(names)) < len(names):
            doubles = sorted({name for name in names if names.count(name) > 1})
            raise InvalidInputError(
                f"expected one or more policies of different names for {task!r}, got {len(policies)}"
                + (f", of which several are called {', '.join(doubles)}" if doubles else "")
            )
        gathered[task] = dict(zip(names, policies, strict=True))
    return gathered
