"""Plays policies in worlds, from paired starts."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding

from hwm_env.envs.config import EnvConfig
from hwm_env.envs.episodes import EnvStep, Episode, EpisodeEngine
from hwm_env.envs.observations import Observation
from hwm_env.envs.world import M, World
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.policies.loading import blaming
from hwm_env.fields import Count, checked
from hwm_env.policy import Planner, Policy
from hwm_env.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Case:
    """Where a trial begins; the same in all worlds and for all policies."""

    start: int
    """Of the checkpoint's."""
    seed: int
    """Of the goal, the world's noise and the policy: `env.reset(seed=seed, options={"start": start})` begins it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How one episode went."""

    case: Case
    success: bool
    total_reward: float
    poses: list[list[float]]
    """Base x (m), y (m) and yaw (rad) after each env step, as the world itself knows it; empty where it does not."""
    error_probability: list[float]
    """What the world says of its own clips, after each env step; empty where it says nothing."""
    steps: int

    @classmethod
    def of(cls, case: Case, rewards: Sequence[float], infos: Sequence[Mapping[str, Any]]) -> "Trial":
        """Sums up what an episode's steps gave."""
        return cls(
            case=case,
            success=bool(infos[-1]["is_success"]),
            total_reward=float(sum(rewards)),
            poses=[np.round(info["base_pose"].astype(float), 4).tolist() for info in infos if "base_pose" in info],
            error_probability=[round(info["error_probability"], 4) for info in infos if "error_probability" in info],
            steps=len(rewards),
        )


SEED_STRIDE: Final = 1_000_000
"""Between the seeds of one evaluation and those of another: more cases than anybody plays."""


def make_cases(count: int, num_starts: int, seed: int) -> list[Case]:
    """As many cases as asked for: all starts in turn, with another seed each time.

    Raises:
        InvalidInputError: no case is asked for.
    """
    checked("starts", count, Count)
    return [Case(index % num_starts, seed * SEED_STRIDE + index) for index in range(count)]


def play(world: World[M], policy: Policy, task: str | Task, cases: Sequence[Case], max_steps: int) -> list[Trial]:
    """Plays an episode from each case, all side by side.

    Args:
        world: where.
        policy: who.
        task: what is to be done.
        cases: where the episodes begin.
        max_steps: env steps after which an episode is over.

    Raises:
        InvalidInputError: the policy's actions are not such as it announced; names policy and start.
        CheckpointError: the world has no read-out, and the task needs one.
    """
    rewards: list[list[float]] = [[] for _ in cases]
    infos: list[list[dict[str, Any]]] = [[] for _ in cases]
    for index, step in live(make_engine(world, policy, task, max_steps), policy, cases):
        rewards[index].append(step.reward)
        infos[index].append(step.info)
    return [Trial.of(*one) for one in zip(cases, rewards, infos, strict=True)]


def make_engine(world: World[M], policy: Policy, task: str | Task, max_steps: int) -> EpisodeEngine[M]:
    """The environment's engine, as a policy wants its observations and actions."""
    return EpisodeEngine(world, EnvConfig(task=task, max_episode_steps=max_steps, **asdict(policy.interface)))


def live(engine: EpisodeEngine[M], policy: Policy, cases: Sequence[Case]) -> Iterator[tuple[int, EnvStep[M]]]:
    """Each env step of each case, as it is taken, with the case's index; see `play`.

    Whoever keeps the steps of a learned world keeps the memory of whole batches.
    """
    episodes = [_begin(engine, case) for case in cases]
    observations = [engine.observe(episode) for episode in episodes]
    failed = f"policy {policy.name!r} failed"

    def subject(index: int) -> str:
        return f"policy {policy.name!r}, start {cases[index].start}, step {episodes[index].elapsed_steps}"

    with blaming(failed):
        policy.reset([case.seed for case in cases])
        if isinstance(policy, Planner):
            policy.begin(engine.world, [engine.world.start(case.start) for case in cases], episodes)
    going = list(range(len(cases)))
    while going:
        with blaming(failed):
            if isinstance(policy, Planner):
                policy.watch(episodes)
            actions = _act(policy, observations)
        steps = engine.step(episodes, actions, going, subject)
        for index, step in steps.items():
            episodes[index] = step.episode
            observations[index] = engine.observe(step.episode)
            yield index, step
        going = [index for index, step in steps.items() if not (step.terminated or step.truncated)]


def _begin(engine: EpisodeEngine[M], case: Case) -> Episode[M]:
    """As `env.reset(seed=case.seed, options={"start": case.start})` begins it."""
    rng, _ = seeding.np_random(case.seed)
    return engine.begin(rng, engine.parse({"start": case.start}))[0]


def _act(policy: Policy, observations: Sequence[Observation]) -> npt.NDArray[np.float32]:
    actions = policy.act(observations)
    if isinstance(actions, Mapping | Set) or not hasattr(actions, "__len__") or len(actions) != len(observations):
        got = f"{len(actions)} of them" if hasattr(actions, "__len__") else type(actions).__name__
        raise InvalidInputError(
            f"policy {policy.name!r} must give an action for each of {len(observations)} worlds, got {got}"
        )
    return actions
