"""Values plans by their predicted rewards in a world, with caution about uncertain predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic

import numpy as np

from hwm_env.envs.world import M, World
from hwm_env.fields import CheckedFields, Count, NotNegative
from hwm_env.tasks.base import Goal
from hwm_env.types import Float32Array, Float64Array

DISCOUNT: Final = 0.95
"""Discount of rewards per env step, so that of two plans that succeed the faster one is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caution(CheckedFields):
    """How a planner weighs uncertain predictions."""

    futures: Count = 1
    """Predictions of each plan with different noise; more than one is useful in learned worlds only."""
    pessimism: NotNegative = 0.0
    """Number of standard deviations over the futures that are subtracted from their mean return."""
    distrust: NotNegative = 0.0
    """Weight of the confidence (nats per token, mean over a plan's clips) that is added to the return."""


class Imagination(Generic[M]):
    """Predicts plans from one moment of a world, all in one batch.

    Args:
        world: learned or reference world.
        moment: where all plans begin.
        goal: computes the rewards.
        elapsed_steps: env steps of the episode before this moment.
        caution: how uncertain predictions are weighed.
        seeds: one for each future, used if there are several.
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
        """Number of clips predicted so far."""

    def worth(self, chunks: Float32Array) -> Float64Array:
        """Returns the value of each plan.

        Args:
            chunks: actions of N plans, physical units, [N, horizon, 17, 25].

        Returns:
            Discounted return of each plan, corrected by `caution`, [N]. Rewards stop at an episode's end.
        """
        futures = [self._returns(moment, chunks) for moment in self._moments]
        returns, confidence = (np.stack(parts) for parts in zip(*futures, strict=True))
        caution = self._caution
        worth: Float64Array = (
            returns.mean(0) - caution.pessimism * returns.std(0) + caution.distrust * confidence.mean(0)
        )
        return worth

    def _returns(self, moment: M, chunks: Float32Array) -> tuple[Float64Array, Float64Array]:
        """Returns the discounted returns and the mean confidences of all plans in one future, [N] each."""
        count, horizon = chunks.shape[:2]
        returns, confidence, steps = np.zeros(count), np.zeros(count), np.zeros(count)
        moments, running = [moment] * count, list(range(count))
        for step in range(horizon):
            after = self._world.step([moments[plan] for plan in running], chunks[running, step])
            self.clips += len(running)
            ended = []
            for plan, now in zip(running, after, strict=True):
                outcome = self._goal.evaluate(moments[plan], now, self._elapsed_steps + step + 1)
                returns[plan] += outcome.reward * DISCOUNT**step
                confidence[plan] += now.confidence
                steps[plan] += 1
                moments[plan] = now
                ended += [plan] if outcome.terminated else []
            running = [plan for plan in running if plan not in ended]
            if not running:
                break
        return returns, confidence / steps
