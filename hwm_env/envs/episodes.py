"""The rules of the environments, for any number of worlds: what begins, ends and judges an episode.

The environment of one world and the vector environment differ only in how many episodes they keep.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic

import numpy as np

from hwm_env.envs.actions import ActionAdapter, AdaptedAction
from hwm_env.envs.config import EnvConfig
from hwm_env.envs.observations import Observation, ObservationAdapter
from hwm_env.envs.options import Options, parse_options
from hwm_env.envs.world import M, World
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.fields import CountOrZero, checked, short
from hwm_env.tasks.base import BringsHistory, EpisodeStart, Goal, Outcome
from hwm_env.tasks.registry import as_task
from hwm_env.trust import Assessment

_NO_OUTCOME: Final = Outcome({}, success=False, terminated=False)


@dataclass(frozen=True, slots=True, eq=False)
class Episode(Generic[M]):
    """Where one world's episode stands. Immutable."""

    moment: M
    goal: Goal | None
    elapsed_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class EnvState(Generic[M]):
    """A saved world: what `get_state` gives and `set_state` takes. Immutable."""

    origin: str
    """World and task that it belongs to."""
    episode: Episode[M]
    _np_random: np.random.Generator

    @property
    def np_random(self) -> np.random.Generator:
        """The world's own generator as it was; a new copy."""
        return copy.deepcopy(self._np_random)


@dataclass(frozen=True, slots=True, eq=False)
class EnvStep(Generic[M]):
    """What an env step of one world gave."""

    episode: Episode[M]
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


@contextmanager
def naming(world: int) -> Iterator[None]:
    """Adds a world's index to errors about its input."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"world {world}: {error}") from error


class EpisodeEngine(Generic[M]):
    """Begins episodes and goes on with them; keeps none.

    Args:
        world: what happens after an action.
        config: the environment's arguments.

    Raises:
        InvalidInputError: an unknown task, or an argument that does not go with the world.
        CheckpointError: the task or the trust limit needs a part that the checkpoint has not.
    """

    def __init__(self, world: World[M], config: EnvConfig) -> None:
        self.world = world
        self.config = config
        self.task = as_task(config.task)
        if self.task is not None and self.task.needs_readout and not world.has_readout:
            raise CheckpointError(
                f"the task {self.task.name!r} needs to know where the robot is, but this checkpoint has no read-out; "
                "train one with `hwm-env train-readout`, or make the environment with task=None"
            )
        if config.untrusted_above is not None and world.trust is None and not world.is_exact:
            raise CheckpointError(
                "untrusted_above needs a calibrated checkpoint, and this one is not; run `hwm-env calibrate`, or make "
                "the environment with untrusted_above=None"
            )
        if not world.num_starts:
            raise CheckpointError(
                "the checkpoint holds no starts, and an episode begins at one; make it again with some"
            )
        self.origin = f"{world.identity}, task {self.task.name if self.task else None}"
        self.actions = ActionAdapter(
            world.statistics, config.action_mode, config.normalized_actions, config.out_of_range, config.controls
        )
        self.observations = ObservationAdapter(config, world, self.task, self.actions.low, self.actions.high)

    def parse(self, options: Mapping[str, Any] | None) -> Options:
        """Checks the options of a reset.

        Raises:
            InvalidInputError: an option is unknown or has a value that is not allowed.
        """
        parsed = parse_options(options, self.world.num_starts, self.task)
        if parsed.state is not None:
            self.check_state(parsed.state)
        return parsed

    def begin(self, rng: np.random.Generator, parsed: Options) -> tuple[Episode[M], dict[str, Any]]:
        """Begins an episode.

        Args:
            rng: the world's own generator, from which start, noise and goal are drawn.
            parsed: options of the reset.

        Returns:
            The episode and its info.

        Raises:
            InvalidInputError: the task needs to know where the robot is, and nothing says.
        """
        # Drawn even where the user names a start, so that naming the one that the seed draws changes nothing.
        drawn, seed = int(rng.integers(self.world.num_starts)), int(rng.integers(2**63))
        info: dict[str, Any] = {}
        history = None
        if parsed.state is not None:
            moment = self.world.reseeded(parsed.state.episode.moment, seed)
        else:
            if isinstance(self.task, BringsHistory):
                history = self.task.history(rng, parsed.of_task)
            else:
                info["start"] = drawn if parsed.start is None else parsed.start
                history = self.world.start(info["start"])
            moment = self.world.begin(history, seed)
        goal = None
        if self.task is not None:
            if self.task.needs_readout and moment.readout is None:
                raise InvalidInputError(
                    f"the task {self.task.name!r} needs to know where the robot is, and the history shows a place that "
                    "this checkpoint's scene does not know; begin elsewhere, or train a read-out as well with "
                    "`hwm-env train-readout`"
                )
            start = EpisodeStart(
                rng, moment, history, parsed.of_task, self.world.num_starts, self._recorded, self.world.tokenizer
            )
            goal = self.task.reset(start)
        # A task of somebody else's may describe its goal by arrays that it goes on using.
        info |= {**self._of_moment(moment), **copy.deepcopy(goal.describe() if goal else {})}
        return Episode(moment, goal, 0), info

    def command(self, episode: Episode[M], action: Any) -> AdaptedAction:
        """Makes a world's action ready.

        Raises:
            InvalidInputError: it is not of the action space's shape, not finite, or beyond what is allowed.
        """
        return self.actions.command(action, episode.moment.measured[-1])

    def advance(self, episodes: Sequence[Episode[M]], commands: Sequence[AdaptedAction]) -> list[EnvStep[M]]:
        """Lives one clip in each world.

        Args:
            episodes: where the worlds stand; stay valid.
            commands: one for each.

        Raises:
            ModelOutputError: names the worlds in which the model's output is not finite; nothing has changed.
        """
        moments = self.world.step(
            [episode.moment for episode in episodes], np.stack([command.chunk for command in commands])
        )
        assessments = self._assess(moments, commands)
        return [
            self._judge(episode, moment, command, assessment)
            for episode, moment, command, assessment in zip(episodes, moments, commands, assessments, strict=True)
        ]

    def observe(self, episode: Episode[M]) -> Observation:
        """What a user is shown; new arrays."""
        return self.observations.observe(episode.moment, episode.goal)

    def check_state(self, state: object) -> None:
        """Looks whether a saved state can be gone on from here.

        Raises:
            InvalidInputError: it is something else, or of another world or task.
        """
        if not isinstance(state, EnvState):
            raise InvalidInputError(f"state must be what get_state() gives, got {type(state).__name__}")
        if checked("the state's origin", state.origin, str) != self.origin:
            raise InvalidInputError(
                f"state must be of this environment ({self.origin}), got one of {short(state.origin)}"
            )
        checked("the state's np_random", state.np_random, np.random.Generator)
        checked("the state's episode", state.episode, Episode)
        checked("the state's elapsed_steps", state.episode.elapsed_steps, CountOrZero)
        if hasattr(state.episode.goal, "evaluate") != (self.task is not None):
            raise InvalidInputError(f"the state's goal must be one of this task, got {short(state.episode.goal)}")
        self.world.check(state.episode.moment)

    def _recorded(self, start: int) -> M:
        return self.world.begin(self.world.start(start), 0)

    def _assess(self, moments: Sequence[M], commands: Sequence[AdaptedAction]) -> list[dict[str, float]]:
        """How far each clip can be believed, as entries of the info; none where nothing says."""
        if self.world.is_exact:
            return [{"drift": 0.0, "error_probability": 0.0}] * len(moments)
        trust = self.world.trust
        if trust is None:
            return [{}] * len(moments)
        assessment: Assessment = trust.assess(
            tokens=np.stack([moment.tokens for moment in moments]),
            confidence=np.array([moment.confidence for moment in moments]),
            path_entropy=np.array([moment.path_entropy for moment in moments]),
            action_ood=np.array([command.ood for command in commands]),
            painted_offset=np.array([moment.painted_offset for moment in moments]),
            steps=np.array([moment.predicted_steps for moment in moments]),
        )
        pairs = zip(assessment.drift.tolist(), assessment.error_probability.tolist(), strict=True)
        return [{"drift": drift, "error_probability": probability} for drift, probability in pairs]

    def _judge(
        self, episode: Episode[M], moment: M, command: AdaptedAction, assessment: Mapping[str, float]
    ) -> EnvStep[M]:
        elapsed = episode.elapsed_steps + 1
        outcome = episode.goal.evaluate(episode.moment, moment, elapsed) if episode.goal else _NO_OUTCOME
        limit = self.config.untrusted_above
        untrusted = limit is not None and assessment["error_probability"] > limit
        info = {
            **self._of_moment(moment),
            **assessment,
            "untrusted": untrusted,
            "reward_terms": dict(outcome.reward_terms),
            "is_success": outcome.success,
            "action_clipped": command.clipped,
            "action_ood": command.ood,
            "action_ood_joints": command.ood_joints,
        }
        truncated = untrusted or elapsed >= self.config.step_limit
        return EnvStep(Episode(moment, episode.goal, elapsed), outcome.reward, outcome.terminated, truncated, info)

    def _of_moment(self, moment: M) -> dict[str, Any]:
        info: dict[str, Any] = {"confidence": moment.confidence, "entropy": moment.entropy}
        if moment.readout is not None:
            info |= {"base_pose": moment.readout.base_pose, "readout": moment.readout.to_dict()}
            info["readout_source"] = moment.readout_source
        if moment.readout is not None and moment.pose_std is not None:
            info |= {"pose": moment.readout.base_pose, "pose_std": moment.pose_std}
            if self.world.trust is not None and self.world.trust.calibration.needs_painted_offset:
                info["painted_offset"] = moment.painted_offset
        return info
