"""What a planner thinks plans are worth: their rewards in a world, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic

import numpy as np

from hwm_env.envs.world import M, World
from hwm_env.fields import CheckedFields, Count, NotNegative
from hwm_env.tasks.base import Goal
from hwm_env.types import Float32Array, Float64Array

DISCOUNT: Final = 0.95
"""Of rewards, an env step: of two plans that succeed, the sooner one is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caution(CheckedFields):
    """How a planner weighs what it is not sure of."""

    futures: Count = 1
    """Of each plan, with different noise of the world; more than one makes sense in a learned world only."""
    pessimism: NotNegative = 0.0
    """Standard deviations over the futures that are taken off their mean return."""
    distrust: NotNegative = 0.0
    """Return that a nat of missing confidence costs, mean over a plan's clips."""


class Imagination(Generic[M]):
    """Tries plans out from one moment of a world, all side by side.

    Args:
        world: learned or true.
        moment: where all plans begin.
        goal: what rewards them.
        elapsed_steps: env steps of the episode before this moment.
        caution: how the futures are weighed.
        seeds: one for each future, where there are several.
    """

    def __init__(
        self, world: World[M], moment: M, goal: Goal, elapsed_steps: int, caution: Caution, seeds: Sequence[int]
    ) -> None:
        self._world = world
        self._moments = [moment] if caution.futures == 1 else [world.reseeded(moment, seed) for seed in seeds]
        self._goal = goal
        self._elapsed_steps = elapsed_steps
        self._caution = caution
        self.clips = 0
        """How many clips have been imagined."""

    def worth(self, chunks: Float32Array) -> Float64Array:
        """What plans are worth.

        Args:
            chunks: physical units, [N, horizon, 17, 25].

        Returns:
            Discounted return of each plan, cautiously, [N]. After an episode's end nothing is earned.
        """
        futures = [self._returns(moment, chunks) for moment in self._moments]
        returns, confidence = (np.stack(parts) for parts in zip(*futures, strict=True))
        caution = self._caution
        worth: Float64Array = (
            returns.mean(0) - caution.pessimism * returns.std(0) + caution.distrust * confidence.mean(0)
        )
        return worth

    def _returns(self, moment: M, chunks: Float32Array) -> tuple[Float64Array, Float64Array]:
        """Returns, and mean confidences, of all plans in one future."""
        count, horizon = chunks.shape[:2]
        returns, confidence, lived = np.zeros(count), np.zeros(count), np.zeros(count)
        moments, going = [moment] * count, list(range(count))
        for step in range(horizon):
            after = self._world.step([moments[plan] for plan in going], chunks[going, step])
            self.clips += len(going)
            ended = []
            for plan, now in zip(going, after, strict=True):
                outcome = self._goal.evaluate(moments[plan], now, self._elapsed_steps + step + 1)
                returns[plan] += outcome.reward * DISCOUNT**step
                confidence[plan] += now.confidence
                lived[plan] += 1
                moments[plan] = now
                ended += [plan] if outcome.terminated else []
            going = [plan for plan in going if plan not in ended]
            if not going:
                break
        return returns, confidence / lived
