"""Rules of episodes for all environments: how they begin, step, end and are judged.

The environments of one row and the vector environments differ only in the number of episodes that they hold.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Generic

import numpy as np
import numpy.typing as npt

from hwm_env.envs.actions import ActionAdapter, AdaptedAction
from hwm_env.envs.config import EnvConfig
from hwm_env.envs.observations import Observation, ObservationAdapter
from hwm_env.envs.options import Options, parse_options
from hwm_env.envs.world import M, World
from hwm_env.errors import CheckpointError, InvalidInputError, ModelOutputError
from hwm_env.fields import CountOrZero, checked, short
from hwm_env.robot import EVE
from hwm_env.tasks.base import BringsHistory, EpisodeStart, Goal, Outcome, RecordedHistory
from hwm_env.tasks.registry import as_task

_NO_OUTCOME: Final = Outcome({}, success=False, terminated=False)


@dataclass(frozen=True, slots=True, eq=False)
class Episode(Generic[M]):
    """The present state of one row's episode. Immutable."""

    moment: M
    goal: Goal | None
    elapsed_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class EnvState(Generic[M]):
    """The saved state of one row, from `get_state` to `set_state`. Immutable."""

    origin: str
    """World and task that the state belongs to."""
    episode: Episode[M]
    _np_random: np.random.Generator

    @property
    def np_random(self) -> np.random.Generator:
        """A new copy of the row's own generator as it was."""
        return copy.deepcopy(self._np_random)


@dataclass(frozen=True, slots=True, eq=False)
class EnvStep(Generic[M]):
    """The result of one row's env step."""

    episode: Episode[M]
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Beginning:
    """Where an episode begins."""

    start: int | None
    """Index of the checkpoint's start; `None` if it begins elsewhere."""
    history: RecordedHistory | None
    """The recorded history at whose end it begins; `None`: at a saved state."""
    seed: int
    """Seed of the world's randomness."""


@contextmanager
def naming(subject: str) -> Iterator[None]:
    """Puts a subject, such as "row 3", before the messages of errors about input."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"{subject}: {error}") from error


class EpisodeEngine(Generic[M]):
    """Begins and steps episodes; holds none itself.

    Args:
        world: the dynamics.
        config: the environment's arguments.

    Raises:
        InvalidInputError: the task is unknown, or an argument needs pictures that the world lacks.
        CheckpointError: the task or `untrusted_above` needs a part that the checkpoint lacks.
    """

    def __init__(self, world: World[M], config: EnvConfig) -> None:
        self.world = world
        self.config = config
        self.task = as_task(config.task)
        if not world.has_pictures:
            _check_blind(config)
        if self.task is not None and self.task.needs_readout and not world.has_readout:
            robot = world.checkpoint.robot
            if robot != EVE:
                raise CheckpointError(
                    f"the task {self.task.name!r} needs a read-out, and there are none of {robot.name}: hwm_env knows "
                    f"the body of {EVE.name} alone; use task=None, another task, or a function of two moments"
                )
            raise CheckpointError(
                f"the task {self.task.name!r} needs a read-out, which this checkpoint lacks; add one with "
                "`hwm-env train-readout CHECKPOINT DATA`, or make the environment with task=None"
            )
        if config.untrusted_above is not None and world.trust is None and not world.is_exact:
            raise CheckpointError(
                "untrusted_above needs a calibrated checkpoint, and this one is not; run `hwm-env calibrate CHECKPOINT`"
                ", or make the environment with untrusted_above=None"
            )
        self._num_starts = len(world.checkpoint.starts)
        if not self._num_starts:
            raise CheckpointError(
                "the checkpoint holds no starts, at which episodes begin; make the checkpoint again with some"
            )
        self.origin = f"{world.identity}, task {self.task.name if self.task else None}"
        self.actions = ActionAdapter(
            world.checkpoint.statistics,
            config.action_mode,
            config.normalized_actions,
            config.out_of_range,
            config.controls,
            world.checkpoint.robot,
        )
        self.observations = ObservationAdapter(config, world.checkpoint, self.task, self.actions.low, self.actions.high)

    def parse(self, options: Mapping[str, Any] | None) -> Options:
        """Checks the options of a reset.

        Raises:
            InvalidInputError: an option is unknown or has a value that is not allowed.
        """
        parsed = parse_options(options, self._num_starts, self.task)
        if parsed.state is not None:
            self.check_state(parsed.state)
        return parsed

    def begin(
        self,
        rngs: Mapping[int, np.random.Generator],
        parsed: Mapping[int, Options],
        subject: Callable[[int], str] | None = None,
    ) -> dict[int, tuple[Episode[M], dict[str, Any]]]:
        """Begins an episode in some rows.

        Args:
            rngs: each row's own generator, from which start, noise and goal are drawn.
            parsed: options of each row's reset.
            subject: names a row in errors; None: they name none.

        Returns:
            The episodes and their infos by row.

        Raises:
            InvalidInputError: the task needs a read-out, which is not possible at this place.
        """

        def named(row: int) -> AbstractContextManager[None]:
            return nullcontext() if subject is None else naming(subject(row))

        beginnings = {}
        for row, rng in rngs.items():
            with named(row):
                beginnings[row] = self._chosen(rng, parsed[row])
        recorded = {row: beginning.history for row, beginning in beginnings.items() if beginning.history is not None}
        moments = self.world.begin([*recorded.values()], [beginnings[row].seed for row in recorded]) if recorded else []
        moment_of = dict(zip(recorded, moments, strict=True))
        begun = {}
        for row, beginning in beginnings.items():
            moment = moment_of.get(row)
            if moment is None:
                moment = self.world.reseeded(parsed[row].state.episode.moment, beginning.seed)
            with named(row):
                begun[row] = self._begun(rngs[row], parsed[row], beginning, moment)
        return begun

    def step(
        self,
        episodes: Sequence[Episode[M]],
        actions: Sequence[Any] | npt.NDArray[Any],
        rows: Sequence[int],
        subject: Callable[[int], str] | None = None,
    ) -> dict[int, EnvStep[M]]:
        """Takes one env step in some rows of a batch.

        Args:
            episodes: the episode of each row of the batch; stay valid.
            actions: the action of each row of the batch.
            rows: indices of the rows that take the step.
            subject: names a row in errors about its action; None: they name none.

        Returns:
            The results by row.

        Raises:
            InvalidInputError: an action is not of the action space's shape, not finite, or not allowed.
            ModelOutputError: the model's output is not finite; names the rows. Nothing has changed.
        """
        if not rows:
            return {}
        adapted = []
        for row in rows:
            with nullcontext() if subject is None else naming(subject(row)):
                adapted.append(self.actions.adapt(actions[row], episodes[row].moment.measured[-1]))
        try:
            moments = self.world.step(
                [episodes[row].moment for row in rows], np.stack([action.chunk for action in adapted])
            )
        except ModelOutputError as error:
            raise error.among(rows) from error
        return {
            row: self._judge(episodes[row], moment, action, assessment)
            for row, moment, action, assessment in zip(
                rows, moments, adapted, self._assess(moments, adapted), strict=True
            )
        }

    def observe(self, episode: Episode[M]) -> Observation:
        """Returns the observation of an episode's present moment; new arrays."""
        return self.observations.observe(episode.moment, episode.goal)

    def check_state(self, state: object) -> None:
        """Checks that a saved state belongs to this environment.

        Raises:
            InvalidInputError: it is not a state, or one of another world or task.
        """
        if not isinstance(state, EnvState):
            raise InvalidInputError(f"state must be what get_state() returned, got {type(state).__name__}")
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

    def _chosen(self, rng: np.random.Generator, parsed: Options) -> _Beginning:
        """Chooses where an episode begins."""
        # Drawn even if the start is given, so that giving the start that the seed draws changes nothing.
        drawn, seed = int(rng.integers(self._num_starts)), int(rng.integers(2**63))
        if parsed.state is not None:
            return _Beginning(None, None, seed)
        if isinstance(self.task, BringsHistory):
            return _Beginning(None, self.task.history(rng, parsed.of_task), seed)
        start = drawn if parsed.start is None else parsed.start
        return _Beginning(start, self.world.start(start), seed)

    def _begun(
        self, rng: np.random.Generator, parsed: Options, beginning: _Beginning, moment: M
    ) -> tuple[Episode[M], dict[str, Any]]:
        """Returns the episode that begins at a moment, and its info."""
        info: dict[str, Any] = {} if beginning.start is None else {"start": beginning.start}
        goal = None
        if self.task is not None:
            if self.task.needs_readout and moment.readout is None:
                raise InvalidInputError(
                    f"the task {self.task.name!r} needs a read-out, but the history shows a place that this "
                    "checkpoint's scene does not know; begin elsewhere, or train a read-out with "
                    "`hwm-env train-readout CHECKPOINT DATA`"
                )
            start = EpisodeStart(
                rng,
                moment,
                beginning.history,
                parsed.of_task,
                self._num_starts,
                self._recorded,
                self.world.checkpoint.tokenizer,
                self.world.checkpoint.robot,
            )
            goal = self.task.reset(start)
        # A user's task may describe its goal with arrays that it continues to use.
        info |= {**self._of_moment(moment), **copy.deepcopy(goal.describe() if goal else {})}
        return Episode(moment, goal, 0), info

    def _recorded(self, start: int) -> M:
        (moment,) = self.world.begin([self.world.start(start)], [0])
        return moment

    def _assess(self, moments: Sequence[M], adapted: Sequence[AdaptedAction]) -> list[dict[str, float]]:
        """Returns how far to believe each clip, as entries of the info; empty if the world is not calibrated."""
        if self.world.is_exact:
            return [{"drift": 0.0, "error_probability": 0.0}] * len(moments)
        trust = self.world.trust
        if trust is None:
            return [{}] * len(moments)
        assessment = trust.assess(
            tokens=np.stack([moment.tokens for moment in moments]),
            confidence=np.array([moment.confidence for moment in moments]),
            path_entropy=np.array([moment.path_entropy for moment in moments]),
            action_ood=np.array([action.ood for action in adapted]),
            painted_offset=np.array([moment.painted_offset for moment in moments]),
            steps=np.array([moment.predicted_steps for moment in moments]),
        )
        pairs = zip(assessment.drift.tolist(), assessment.error_probability.tolist(), strict=True)
        return [{"drift": drift, "error_probability": probability} for drift, probability in pairs]

    def _judge(
        self, episode: Episode[M], moment: M, action: AdaptedAction, assessment: Mapping[str, float]
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
            "action_clipped": action.clipped,
            "action_ood": action.ood,
            "action_ood_joints": action.ood_joints,
        }
        truncated = untrusted or elapsed >= self.config.step_limit
        return EnvStep(Episode(moment, episode.goal, elapsed), outcome.reward, outcome.terminated, truncated, info)

    def _of_moment(self, moment: M) -> dict[str, Any]:
        info: dict[str, Any] = {}
        if self.world.has_pictures:
            info |= {"confidence": moment.confidence, "entropy": moment.entropy}
        if moment.readout is not None:
            info |= {"base_pose": moment.readout.base_pose, "readout": moment.readout.to_dict()}
            info["readout_source"] = moment.readout_source
        if moment.pose is not None and moment.pose_std is not None:
            info |= {"pose": moment.pose, "pose_std": moment.pose_std}
            if self.world.trust is not None and self.world.trust.calibration.needs_painted_offset:
                info["painted_offset"] = moment.painted_offset
        return info


def _check_blind(config: EnvConfig) -> None:
    """Raises InvalidInputError if an argument needs pictures."""
    needs = {
        f"obs_mode={config.obs_mode!r}": config.obs_mode != "state",
        f"render_mode={config.render_mode!r}": config.render_mode is not None,
        f"untrusted_above={config.untrusted_above!r}": config.untrusted_above is not None,
    }
    if reasons := [reason for reason, applies in needs.items() if applies]:
        raise InvalidInputError(f"{', '.join(reasons)}: needs pictures; leave out pictures=False")
