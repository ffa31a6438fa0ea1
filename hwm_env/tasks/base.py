"""What a task is: goals for episodes, and reward, success and termination from what is known about the world."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.types import Float32Array, Int32Array, UInt8Array, frozen

ReadoutSource = Literal["truth", "recording", "scene", "network"]
"""Who says where the robot is: the reference world; a recorded start; the carried pose; a network that reads tokens."""
READOUT_DIM = 15
"""Numbers of a WorldReadout as a vector: base x, y, yaw; head, gaze, left hand, right hand with 3 each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldReadout:
    """Named quantities of the world at the end of a clip: exact in the reference world, estimated in a learned one.

    Immutable, its arrays too.

    Positions are in metres in the frame of the room (z up from the floor).
    """

    base_x_m: float
    """Position of the robot's base."""
    base_y_m: float
    """Position of the robot's base."""
    base_yaw_rad: float
    """Heading; 0 looks along x, positive turns left."""
    head_m: Float32Array
    """Position of the head camera, float32 [3]."""
    gaze: Float32Array
    """Direction in which the head camera looks, a unit vector, float32 [3]."""
    left_hand_m: Float32Array
    """Position of the left hand, float32 [3]."""
    right_hand_m: Float32Array
    """Position of the right hand, float32 [3]."""

    @classmethod
    def from_vector(cls, vector: npt.ArrayLike) -> "WorldReadout":
        """From the quantities in the order of the fields, [15]."""
        numbers = np.asarray(vector, np.float32)
        head, gaze, left, right = (frozen(part) for part in numbers[3:].reshape(4, 3))
        x, y, yaw = numbers[:3].tolist()
        return cls(
            base_x_m=x, base_y_m=y, base_yaw_rad=yaw, head_m=head, gaze=gaze, left_hand_m=left, right_hand_m=right
        )

    @property
    def base_pose(self) -> Float32Array:
        """x (m), y (m), yaw (rad), float32 [3]."""
        return np.array([self.base_x_m, self.base_y_m, self.base_yaw_rad], np.float32)

    def to_dict(self) -> dict[str, Float32Array]:
        """The quantities by name, float32 [3] each; new arrays."""
        names = ("base_pose", "head_m", "gaze", "left_hand_m", "right_hand_m")
        return {name: getattr(self, name).copy() for name in names}


class TaskView(Protocol):
    """All that a task may look at: one world after a clip. Never changed."""

    @property
    def frames(self) -> UInt8Array:
        """What the robot has seen during the clip, [17, S, S, 3]; decoded when first asked for."""
        ...

    @property
    def last_frame(self) -> UInt8Array:
        """The last of them, [S, S, 3], which is cheaper than all."""
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
        """What is known about the last frame; None where nobody knows."""
        ...


def known(moment: TaskView) -> WorldReadout:
    """The read-out of a world that has one, as worlds of tasks with `needs_readout` do."""
    readout = moment.readout
    assert readout is not None, "a task that needs a read-out was given a world without"
    return readout


@dataclass(frozen=True, slots=True, eq=False)
class RecordedHistory:
    """A recorded past from which an episode can begin."""

    tokens: Int32Array
    """int32 [T, 3, h, w]: 1 to 9 clips."""
    actions: Float32Array
    """float32 [T, 17, 25]: their actions, physical units."""
    pose: Float32Array | None
    """True base x (m), y (m), yaw (rad) at the last frame, float32 [3]; None where nobody knows it."""


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeStart:
    """What a task may use to choose the goal of a new episode."""

    rng: np.random.Generator
    """The source of all choices."""
    moment: TaskView
    """The world at the start of the episode."""
    history: RecordedHistory | None
    """What the episode begins after; None: a saved state."""
    options: Mapping[str, Any]
    """Checked options of the task."""
    num_starts: int
    """How many recorded starts the world has."""
    recorded: Callable[[int], TaskView]
    """The world at a recorded start, 0 to `num_starts` - 1, for goals that are recorded clips."""
    tokenizer: VideoTokenizer
    """What the world's tokens are made with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task judges one env step."""

    reward_terms: Mapping[str, float]
    """Every part of the reward by name."""
    success: bool
    """Whether the goal is reached."""
    terminated: bool
    """Whether the episode ends here for the task's own reasons."""

    @property
    def reward(self) -> float:
        """The sum of the terms."""
        return float(sum(self.reward_terms.values()))


class Goal(Protocol):
    """What is to be done in one episode. Immutable, so that a saved environment may share it."""

    def observe(self, moment: TaskView) -> npt.NDArray[Any]:
        """The goal as the robot sees it from here, inside the task's `goal_space`."""
        ...

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Judges the env step that led from one moment to the next, the `elapsed_steps`-th (from 1) of the episode."""
        ...

    def describe(self) -> dict[str, Any]:
        """New entries for the info of `reset`."""
        ...


class Task(Protocol):
    """A task, one definition for learned and reference worlds. Immutable; episodes differ in their Goal."""

    @property
    def name(self) -> str:
        """Short name, as in `make_task`."""
        ...

    @property
    def needs_readout(self) -> bool:
        """Whether the task judges by the read-out, which not every learned world has."""
        ...

    @property
    def option_names(self) -> Collection[str]:
        """Keys of the `options` of `reset` that belong to the task."""
        ...

    def goal_space(self, image_size: int) -> spaces.Box | None:
        """Where the goals' observations lie: finite bounds; None: there is nothing to observe.

        Args:
            image_size: height and width of the world's frames in pixels.
        """
        ...

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Looks at the values before anything is changed.

        Raises:
            InvalidInputError: a value is not allowed.
        """
        ...

    def reset(self, episode: EpisodeStart) -> Goal:
        """Chooses the goal of a new episode."""
        ...


@runtime_checkable
class BringsHistory(Protocol):
    """What a task has besides, if its episodes do not begin at one of the world's own starts."""

    def history(self, rng: np.random.Generator, options: Mapping[str, Any]) -> RecordedHistory:
        """Where an episode begins, chosen with this generator and the checked options of the task."""
        ...
