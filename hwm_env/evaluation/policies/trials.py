"""Plays trials: episodes of a policy in a world, begun from the same cases in every world."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding

from hwm_env.envs.config import EnvConfig
from hwm_env.envs.episodes import EnvStep, Episode, EpisodeEngine
from hwm_env.envs.observations import Observation
from hwm_env.envs.world import M, World
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.policies.loading import reraise_as
from hwm_env.fields import Count, checked
from hwm_env.policy import Planner, Policy
from hwm_env.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Case:
    """Start and seed of a trial, equal for all policies and worlds.

    The episode is that of `env.reset(seed=seed, options={"start": start})`.
    """

    start: int
    """Index of the checkpoint's start."""
    seed: int
    """Seed of the goal, the world's noise and the policy."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of one episode."""

    case: Case
    success: bool
    total_reward: float
    poses: list[list[float]]
    """The world's own `base_pose`, x (m), y (m) and yaw (rad), after each env step; empty if the world has none."""
    error_probability: list[float]
    """The world's own error probability after each env step, 0..1; empty if it is not calibrated."""
    steps: int
    """Env steps."""

    @classmethod
    def of(cls, case: Case, rewards: Sequence[float], infos: Sequence[Mapping[str, Any]]) -> "Trial":
        """Summarises the rewards and infos of an episode's steps."""
        return cls(
            case=case,
            success=bool(infos[-1]["is_success"]),
            total_reward=float(sum(rewards)),
            poses=[np.round(info["base_pose"].astype(float), 4).tolist() for info in infos if "base_pose" in info],
            error_probability=[round(info["error_probability"], 4) for info in infos if "error_probability" in info],
            steps=len(rewards),
        )

    def outcome(self) -> "Trial":
        """Returns the trial without what is known after each env step."""
        return replace(self, poses=[], error_probability=[])


SEED_STRIDE: Final = 1_000_000
"""Distance between the seeds of two evaluations, larger than any number of cases."""


def make_cases(count: int, num_starts: int, seed: int) -> list[Case]:
    """Returns `count` cases, which use all starts in turn and have different seeds.

    Raises:
        InvalidInputError: `count` is below 1.
    """
    checked("starts", count, Count)
    return [Case(index % num_starts, seed * SEED_STRIDE + index) for index in range(count)]


def play(world: World[M], policy: Policy, task: str | Task, cases: Sequence[Case], max_steps: int) -> list[Trial]:
    """Plays an episode from each case, all in one batch.

    Args:
        world: the dynamics.
        policy: acts.
        task: name of a task, or a task.
        cases: starts and seeds of the episodes.
        max_steps: env steps after which an episode is truncated.

    Raises:
        InvalidInputError: the policy fails, or its actions do not match its interface; names policy, start and step.
        CheckpointError: the task needs a read-out, and the world has none.
    """
    rewards: list[list[float]] = [[] for _ in cases]
    infos: list[list[dict[str, Any]]] = [[] for _ in cases]
    for row, step in play_steps(make_engine(world, policy, task, max_steps), policy, cases):
        rewards[row].append(step.reward)
        infos[row].append(step.info)
    return [Trial.of(*one) for one in zip(cases, rewards, infos, strict=True)]


def make_engine(world: World[M], policy: Policy, task: str | Task, max_steps: int) -> EpisodeEngine[M]:
    """Returns an engine whose observations and actions are those of the policy's interface."""
    return EpisodeEngine(world, EnvConfig(task=task, max_episode_steps=max_steps, **asdict(policy.interface)))


def play_steps(engine: EpisodeEngine[M], policy: Policy, cases: Sequence[Case]) -> Iterator[tuple[int, EnvStep[M]]]:
    """Plays an episode from each case, and yields each env step with the row of its case; see `play`.

    Do not keep the steps of a learned world: each holds the memory of its whole batch.
    """
    episodes = _begun(engine, cases)
    observations = [engine.observe(episode) for episode in episodes]
    failed = f"policy {policy.name!r} failed"

    def subject(row: int) -> str:
        return f"policy {policy.name!r}, start {cases[row].start}, step {episodes[row].elapsed_steps}"

    with reraise_as(failed):
        policy.reset([case.seed for case in cases])
        if isinstance(policy, Planner):
            policy.begin(engine.world, [engine.world.start(case.start) for case in cases], episodes)
    running = list(range(len(cases)))
    while running:
        with reraise_as(failed):
            if isinstance(policy, Planner):
                policy.watch(episodes)
            actions = _act(policy, observations)
        steps = engine.step(episodes, actions, running, subject)
        for row, step in steps.items():
            episodes[row] = step.episode
            observations[row] = engine.observe(step.episode)
            yield row, step
        running = [row for row, step in steps.items() if not (step.terminated or step.truncated)]


def _begun(engine: EpisodeEngine[M], cases: Sequence[Case]) -> list[Episode[M]]:
    """Begins the episodes of `env.reset(seed=case.seed, options={"start": case.start})`."""
    rngs = {row: seeding.np_random(case.seed)[0] for row, case in enumerate(cases)}
    begun = engine.begin(rngs, {row: engine.parse({"start": case.start}) for row, case in enumerate(cases)})
    return [begun[row][0] for row in range(len(cases))]


def _act(policy: Policy, observations: Sequence[Observation]) -> npt.NDArray[np.float32]:
    actions = policy.act(observations)
    if isinstance(actions, Mapping | Set) or not hasattr(actions, "__len__") or len(actions) != len(observations):
        got = f"{len(actions)} of them" if hasattr(actions, "__len__") else type(actions).__name__
        raise InvalidInputError(
            f"policy {policy.name!r} must return an action for each of {len(observations)} observations, got {got}"
        )
    return actions
