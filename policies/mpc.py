"""Model predictive control: plans before each env step, and executes the first chunk of the plan."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from hwm_env.envs.episodes import Episode
from hwm_env.envs.learned import LearnedWorld
from hwm_env.envs.pose_world import PoseWorld
from hwm_env.envs.world import World, WorldMoment
from hwm_env.policy import SCRIPTED, Interface
from hwm_env.simulator import WorldSimulator
from hwm_env.tasks.base import RecordedHistory
from hwm_env.types import HISTORY_CLIPS, Float32Array
from policies.planners.knots import Knots, controls_of
from policies.planners.planner import Plan, PlannerConfig, make_plan
from policies.planners.search import make_search

MANY_PLANS: Final = PlannerConfig(horizon=8, knots=4, samples=256, iterations=4)
"""For worlds that predict thousands of clips a second."""


class MPC:
    """A policy that plans in a world before each env step.

    If it acts in another world than it plans in, it has only what a robot has: the tokens of the clips so far and the
    measured actions. The planning world then locates the robot, at first anywhere, later near the place that its wheels
    lead to.

    Args:
        task: name of the task, which determines the numbers that plans move.
        search: "cem", "icem" or "mppi".
        imagination: the world in which plans are tried; `None`: the world in which it acts, which makes it an oracle in
            the reference world.
        config: settings of the planner.

    Raises:
        InvalidInputError: `search` is unknown.
    """

    family: Final = SCRIPTED
    interface: Final = Interface(obs_mode="state")

    def __init__(
        self, task: str, search: str, imagination: World[Any] | None, config: PlannerConfig | None = None
    ) -> None:
        self._config = config or PlannerConfig()
        self._controls = controls_of(task)
        self._search = make_search(search, self._controls)
        self._imagination = imagination

    @property
    def name(self) -> str:
        """Name of the search and of the world in which it plans."""
        if self._imagination is None:
            return f"{self._search.name} where it acts"
        is_blind = isinstance(self._imagination, PoseWorld)
        return f"{self._search.name} {'by carried poses' if is_blind else 'in the learned world'}"

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins an episode in each row; see Policy."""
        self._rngs = [np.random.default_rng(seed) for seed in seeds]
        self._plans: list[Plan | None] = [None] * len(seeds)

    def begin(self, world: World[Any], histories: Sequence[RecordedHistory], episodes: Sequence[Episode[Any]]) -> None:
        """Begins planning; see Planner."""
        self._world = self._imagination or world
        # What the environment would clip is not planned.
        statistics = self._world.checkpoint.statistics
        self._knots = Knots(
            self._controls,
            self._config.horizon,
            self._config.knots,
            statistics.low,
            statistics.high,
            statistics.max_change,
        )
        self._is_elsewhere = self._world.identity != world.identity
        self._seen: list[Episode[Any] | None] = [None] * len(episodes)
        self._imagined: list[WorldMoment | None] = [None] * len(episodes)
        self._tokens = [list(history.tokens) for history in histories]
        self._actions = [list(history.actions) for history in histories]

    def watch(self, episodes: Sequence[Episode[Any]]) -> None:
        """Plans for the rows that have advanced."""
        for row, (episode, seen) in enumerate(zip(episodes, self._seen, strict=True)):
            if episode is seen:
                continue
            if seen is not None and self._is_elsewhere:
                self._tokens[row].append(episode.moment.tokens)
                self._actions[row].append(episode.moment.measured)
            assert episode.goal is not None, "a planner needs a task"
            moment = self._moment(row, episode)
            self._plans[row] = make_plan(
                self._world,
                moment,
                episode.goal,
                episode.elapsed_steps,
                knots=self._knots,
                search=self._search,
                config=self._config,
                rng=self._rngs[row],
                last=self._plans[row],
            )
            self._chosen(row, episode, moment)
        self._seen = list(episodes)

    def act(self, observations: Sequence[Any]) -> Float32Array:
        """Returns the first chunk of each plan, float32 [B, 17, 25]."""
        return np.stack([plan.chunks[0] for plan in self._plans if plan is not None])

    def _chosen(self, row: int, episode: Episode[Any], moment: WorldMoment) -> None:
        """Is called when a row has a new plan; does nothing, for subclasses that take notes.

        Args:
            row: the row.
            episode: its episode.
            moment: where the plan begins, in the planning world.
        """

    def _moment(self, row: int, episode: Episode[Any]) -> WorldMoment:
        """Returns the present moment in the world in which it plans."""
        if not self._is_elsewhere:
            moment: WorldMoment = episode.moment
            return moment
        recent, before = slice(-HISTORY_CLIPS, None), self._imagined[row]
        tokens, actions = np.stack(self._tokens[row][recent]), np.stack(self._actions[row][recent])
        expected = None if before is None else self._world.step([before], actions[-1:])[0]
        near = None if expected is None else expected.pose
        history = RecordedHistory(tokens, actions, None, expected_pose=near)
        imagined: WorldMoment
        (imagined,) = self._world.begin([history], [int(self._rngs[row].integers(2**63))])
        if imagined.readout is None and expected is not None:
            # The clips show no place that is known, such as a wall nearby: the wheels tell where it is.
            imagined = expected
        self._imagined[row] = imagined
        return imagined


def in_learned_world(task: str, checkpoint: str = "room-64", search: str = "icem") -> MPC:
    """Makes a planner that plans in a learned world, in whatever world it acts.

    That world decodes the most probable tokens in one step: many rough clips help a search more than a few good ones
    (docs/policies.md).
    """
    return MPC(
        task, search, LearnedWorld(WorldSimulator.from_pretrained(checkpoint, decoding_steps=1, temperature=0.0))
    )


def in_pose_world(task: str, checkpoint: str = "room-64", search: str = "icem") -> MPC:
    """Makes a planner that plans by the carried pose and the robot's kinematics alone, in whatever world it acts.

    It predicts no pictures, so it can try many more plans. The rewards of tasks that use read-outs are those of the
    learned world.
    """
    return MPC(task, search, PoseWorld(WorldSimulator.from_pretrained(checkpoint)), MANY_PLANS)


def where_it_acts(task: str, search: str = "icem") -> MPC:
    """Makes a planner that plans in the world in which it acts: an oracle in the reference world."""
    return MPC(task, search, None)
