"""Protocols and values of tasks: goals of episodes, views of a world, read-outs, and outcomes of env steps."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hwm_env.robot import Robot
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.types import Float32Array, Int32Array, UInt8Array, frozen

ReadoutSource = Literal["truth", "recording", "scene", "network", "localiser"]
"""Where a read-out comes from: the reference world, a recorded start, the carried pose, a network on the tokens, or (in
evaluations only) the pose that the tokens show."""
READOUT_DIM = 15
"""Length of a WorldReadout as a vector: base x, y, yaw; head, gaze, left hand and right hand with 3 numbers each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldReadout:
    """Where the robot and its parts are at the end of a clip: exact in the reference world, estimated in a learned one.

    Immutable, including its arrays. Positions are in metres in the frame of the room (z up from the floor).
    """

    base_x_m: float
    """Position of the robot's base."""
    base_y_m: float
    """Position of the robot's base."""
    base_yaw_rad: float
    """Heading: 0 along x, positive to the left."""
    head_m: Float32Array
    """Position of the head camera, float32 [3]."""
    gaze: Float32Array
    """Viewing direction of the head camera, a unit vector, float32 [3]."""
    left_hand_m: Float32Array
    """Position of the left hand, float32 [3]."""
    right_hand_m: Float32Array
    """Position of the right hand, float32 [3]."""

    @classmethod
    def from_vector(cls, vector: npt.ArrayLike) -> "WorldReadout":
        """Makes a read-out from its numbers in the order of the fields, [15]."""
        numbers = np.asarray(vector, np.float32)
        head, gaze, left, right = (frozen(part) for part in numbers[3:].reshape(4, 3))
        x, y, yaw = numbers[:3].tolist()
        return cls(
            base_x_m=x, base_y_m=y, base_yaw_rad=yaw, head_m=head, gaze=gaze, left_hand_m=left, right_hand_m=right
        )

    @property
    def base_pose(self) -> Float32Array:
        """x (m), y (m) and yaw (rad), float32 [3]."""
        return np.array([self.base_x_m, self.base_y_m, self.base_yaw_rad], np.float32)

    def to_dict(self) -> dict[str, Float32Array]:
        """Returns the quantities by name as new arrays, float32 [3] each."""
        names = ("base_pose", "head_m", "gaze", "left_hand_m", "right_hand_m")
        return {name: getattr(self, name).copy() for name in names}


class TaskView(Protocol):
    """The part of a moment that tasks may use: one row of a world after a clip. Never modified."""

    @property
    def frames(self) -> UInt8Array:
        """The frames of the clip, uint8 [17, S, S, 3]; decoded on first access."""
        ...

    @property
    def last_frame(self) -> UInt8Array:
        """The last frame, uint8 [S, S, 3]; cheaper than all frames."""
        ...

    @property
    def tokens(self) -> Int32Array:
        """The clip's tokens, int32 [3, h, w]."""
        ...

    @property
    def latents(self) -> Float32Array:
        """The values that the tokens' digits stand for, in [-1, 1], float32 [3, h, w, digits]."""
        ...

    @property
    def measured(self) -> Float32Array:
        """The robot's 25 numbers in each frame of the clip, physical units, [17, 25]."""
        ...

    @property
    def readout(self) -> WorldReadout | None:
        """The read-out at the last frame; `None` if unknown."""
        ...


def known(moment: TaskView) -> WorldReadout:
    """Returns the read-out of a moment that has one, as for every task with `needs_readout`."""
    readout = moment.readout
    assert readout is not None, "the task needs a read-out, but the moment has none"
    return readout


@dataclass(frozen=True, slots=True, eq=False)
class RecordedHistory:
    """Recorded clips after which an episode can begin."""

    tokens: Int32Array
    """Tokens of 1 to 9 clips, int32 [T, 3, h, w]."""
    actions: Float32Array
    """Their actions in physical units, float32 [T, 17, 25]."""
    pose: Float32Array | None
    """True base x (m), y (m) and yaw (rad) at the last frame, float32 [3]; `None` if unknown."""
    expected_pose: Float32Array | None = field(default=None, kw_only=True)
    """About where the base is then, float32 [3], if that is known but the pose is not: a world that locates histories
    searches there first; a remote world does not use it."""


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeStart:
    """The inputs from which a task chooses the goal of a new episode."""

    rng: np.random.Generator
    """Generator for all random choices."""
    moment: TaskView
    """The moment at which the episode begins."""
    history: RecordedHistory | None
    """The history after which the episode begins; `None` if it begins at a saved state."""
    options: Mapping[str, Any]
    """The task's own options, checked."""
    num_starts: int
    """Number of recorded starts."""
    recorded: Callable[[int], TaskView]
    """Returns the moment at a recorded start, 0 to `num_starts` - 1, for goals that are recorded clips."""
    tokenizer: VideoTokenizer
    """The tokenizer of the world's tokens."""
    robot: Robot
    """The world's robot."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task's judgement of one env step."""

    reward_terms: Mapping[str, float]
    """Parts of the reward by name."""
    success: bool
    """Whether the goal is reached."""
    terminated: bool
    """Whether the task ends the episode here."""

    @property
    def reward(self) -> float:
        """The sum of the terms."""
        return float(sum(self.reward_terms.values()))


class Goal(Protocol):
    """What one episode asks for. Immutable, so that saved states may share it."""

    def observe(self, moment: TaskView) -> npt.NDArray[Any]:
        """Returns the goal as observed at this moment, inside the task's `goal_space`."""
        ...

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Judges the env step from one moment to the next; `elapsed_steps` counts the episode's steps from 1."""
        ...

    def describe(self) -> dict[str, Any]:
        """Returns the goal's entries in the info of `reset`."""
        ...


class Task(Protocol):
    """One definition of a task for learned and reference worlds. Immutable; episodes differ in their Goal."""

    @property
    def name(self) -> str:
        """Short name, as in `make_task`."""
        ...

    @property
    def needs_readout(self) -> bool:
        """Whether the task uses the read-out, which some learned worlds lack."""
        ...

    @property
    def option_names(self) -> Collection[str]:
        """Keys in the `options` of `reset` that belong to the task."""
        ...

    def goal_space(self, image_size: int) -> spaces.Box | None:
        """Returns the finite bounds of the goals' observations; `None` if there is nothing to observe.

        Args:
            image_size: height and width of the world's frames in pixels.
        """
        ...

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Checks the options before anything changes.

        Raises:
            InvalidInputError: a value is not allowed.
        """
        ...

    def reset(self, episode: EpisodeStart) -> Goal:
        """Chooses the goal of a new episode."""
        ...


@runtime_checkable
class BringsHistory(Protocol):
    """A task whose episodes begin at histories of its own instead of the checkpoint's starts."""

    def history(self, rng: np.random.Generator, options: Mapping[str, Any]) -> RecordedHistory:
        """Returns the history of a new episode, chosen with this generator and the task's checked options."""
        ...
