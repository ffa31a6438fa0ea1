"""The environment itself, whatever world drives it."""

import copy
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, get_args

import gymnasium
import numpy as np

from hwm_env.envs.actions import ActionAdapter, ActionMode, Command
from hwm_env.envs.observations import Observation, ObservationAdapter, ObsMode
from hwm_env.envs.options import split_options
from hwm_env.envs.rendering import Window, enlarged
from hwm_env.envs.world import M, World
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.tasks.base import Goal, Outcome, Task
from hwm_env.tasks.registry import make_task
from hwm_env.types import FRAME_RATE_HZ, FRAMES_PER_CLIP, UInt8Array

RenderMode = Literal["rgb_array", "human"]

_NO_OUTCOME: Final = Outcome({}, success=False, terminated=False)


@dataclass(frozen=True, slots=True, eq=False)
class EnvState(Generic[M]):
    """A saved environment: what `get_state` gives and `set_state` takes. Immutable."""

    origin: str
    """World and task that it belongs to."""
    moment: M
    goal: Goal | None
    elapsed_steps: int
    np_random: np.random.Generator
    """A copy of the environment's own generator."""


class HumanoidEnv(gymnasium.Env[Observation, Any], Generic[M]):
    """A humanoid robot with a task; see HumanoidWorldModelEnv for the datasheet.

    Args:
        world: what happens after an action.
        task: a name that `make_task` knows, a Task, or None for no reward.
        obs_mode: what observations show.
        action_mode: what actions mean.
        normalized_actions: whether actions are sent in [-1, 1].
        max_steps: env steps until truncation.
        render_mode: "rgb_array", "human" or None.

    Raises:
        InvalidInputError: an unknown task or mode, or no step allowed.
        CheckpointError: the task needs to know where the robot is and the world cannot say.
    """

    # Env steps a second, rounded: video writers drop frames when it is not whole.
    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": list(get_args(RenderMode)),
        "render_fps": round(FRAME_RATE_HZ / FRAMES_PER_CLIP),
    }

    def __init__(
        self,
        world: World[M],
        *,
        task: str | Task | None,
        obs_mode: ObsMode,
        action_mode: ActionMode,
        normalized_actions: bool,
        max_steps: int,
        render_mode: RenderMode | None,
    ) -> None:
        if render_mode not in (None, *get_args(RenderMode)):
            raise InvalidInputError(f"render_mode must be one of {[None, *get_args(RenderMode)]}, got {render_mode!r}")
        if max_steps < 1:
            raise InvalidInputError(f"max_steps must be at least 1, got {max_steps}")
        self._world = world
        self._task = make_task(task) if isinstance(task, str) else task
        if self._task is not None and not world.has_readout:
            raise CheckpointError(
                f"the task {self._task.name!r} needs to know where the robot is, but this checkpoint has no read-out; "
                "train one with `hwm-env train-readout`, or make the environment with task=None"
            )
        self._origin = f"{world.identity}, task {self._task.name if self._task else None}"
        self._max_steps = max_steps
        self._actions = ActionAdapter(world.statistics, action_mode, normalized_actions)
        self._observations = ObservationAdapter(
            obs_mode,
            image_size=world.image_size,
            state_low=self._actions.low,
            state_high=self._actions.high,
            goal_space=self._task.goal_space if self._task else None,
        )
        self.action_space = self._actions.space
        self.observation_space = self._observations.space
        self.render_mode = render_mode
        self._window: Window | None = None
        self._moment: M | None = None
        self._goal: Goal | None = None
        self._elapsed_steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begins an episode at a recorded start.

        Args:
            seed: seeds `np_random`, from which the start, the world's own noise and the task's goal are drawn.
            options: `start` (int) names the start; other entries belong to the task.

        Raises:
            InvalidInputError: an option is unknown or has a value that is not allowed; nothing has changed.
        """
        wanted_start, task_options = split_options(options, self._world.num_starts, self._task)
        super().reset(seed=seed)
        # Drawn even where the user names a start, so that naming the one that the seed draws changes nothing.
        drawn_start = int(self.np_random.integers(self._world.num_starts))
        start = drawn_start if wanted_start is None else wanted_start
        moment = self._world.begin(start, int(self.np_random.integers(2**63)))
        goal = None
        if self._task is not None and moment.readout is not None:
            goal = self._task.reset(self.np_random, moment.readout, task_options)
        self._moment, self._goal, self._elapsed_steps = moment, goal, 0
        if self.render_mode == "human":
            self.render()
        info = {"start": start, **self._info(moment), **(goal.describe() if goal else {})}
        return self._observations.observe(moment, goal), info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Lives one clip of 17 frames, 0.567 s of robot time.

        Raises:
            InvalidInputError: the action is not of the action space's shape, or not finite; nothing has changed.
            ResetNeeded: there is no episode yet.
        """
        previous = self._current_moment()
        command = self._actions.command(action, previous.measured[-1])
        moment = self._world.step(previous, command.chunk)
        outcome = self._evaluate(previous, moment)
        self._moment, self._elapsed_steps = moment, self._elapsed_steps + 1
        if self.render_mode == "human":
            self._show(moment.frames)
        truncated = self._elapsed_steps >= self._max_steps
        info = {**self._info(moment), **_step_info(command, outcome)}
        return self._observations.observe(moment, self._goal), outcome.reward, outcome.terminated, truncated, info

    def render(self) -> UInt8Array | None:
        """The newest frame, uint8 [256, 256, 3]; in a window, for `human`.

        Raises:
            ResetNeeded: there is no episode yet.
        """
        moment = self._current_moment()
        if self.render_mode == "human":
            self._show(moment.frames[-1:])
            return None
        if self.render_mode is None:
            gymnasium.logger.warn("render() shows nothing with render_mode=None; make the environment with another one")
            return None
        return enlarged(moment.frames[-1])

    @property
    def clip(self) -> UInt8Array:
        """All frames of the newest step, whatever observations show: uint8 [17, S, S, 3].

        Raises:
            ResetNeeded: there is no episode yet.
        """
        return self._current_moment().frames.copy()

    def close(self) -> None:
        """Frees window and world; may be called twice."""
        if self._window is not None:
            self._window.close()
            self._window = None
        self._world.close()

    def get_state(self) -> EnvState[M]:
        """Everything that the future depends on, in constant time and memory.

        Raises:
            ResetNeeded: there is no episode yet.
        """
        return EnvState(
            self._origin, self._current_moment(), self._goal, self._elapsed_steps, copy.deepcopy(self.np_random)
        )

    def set_state(self, state: EnvState[M]) -> None:
        """Goes back to a saved state; from there on equal actions have bit-equal results.

        Args:
            state: what `get_state` gave, of this environment or of one with the same checkpoint and task.

        Raises:
            InvalidInputError: it is something else, or of another world or task; nothing has changed.
        """
        if not isinstance(state, EnvState):
            raise InvalidInputError(f"state must be what get_state() gives, got {type(state).__name__}")
        if state.origin != self._origin:
            raise InvalidInputError(f"state must be of this environment ({self._origin}), got one of {state.origin}")
        self._moment, self._goal, self._elapsed_steps = state.moment, state.goal, state.elapsed_steps
        self.np_random = copy.deepcopy(state.np_random)

    def _current_moment(self) -> M:
        if self._moment is None:
            raise gymnasium.error.ResetNeeded("there is no episode yet; call env.reset() first")
        return self._moment

    def _evaluate(self, previous: M, moment: M) -> Outcome:
        if self._goal is None or previous.readout is None or moment.readout is None:
            return _NO_OUTCOME
        return self._goal.evaluate(previous.readout, moment.readout)

    def _info(self, moment: M) -> dict[str, Any]:
        info: dict[str, Any] = {"confidence": moment.confidence}
        if moment.readout is not None:
            info["base_pose"] = moment.readout.base_pose
        return info

    def _show(self, frames: UInt8Array) -> None:
        if self._window is None:
            self._window = Window(self._origin)
        self._window.play(frames)


def _step_info(command: Command, outcome: Outcome) -> dict[str, Any]:
    return {
        "reward_terms": dict(outcome.reward_terms),
        "is_success": outcome.success,
        "action_clipped": command.clipped,
        "action_ood": command.ood,
    }
