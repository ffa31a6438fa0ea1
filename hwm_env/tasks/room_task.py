"""Parts that the tasks of the reference room share: options, reward terms, and places as seen from the robot."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces

from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, short
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView, WorldReadout, known
from hwm_env.types import Float32Array

SUCCESS_BONUS: Final = 5.0
DISTANCE_SCALE_M: Final = 4.0
"""The distance that is 1 in goal observations."""
LARGEST_SCALED_DISTANCE: Final = 4.0
"""Upper bound in goal observations, since read-outs of learned worlds may be far off."""


class RoomTask:
    """A task about one thing in the reference room, which one option can name.

    Args:
        thing: the thing in every episode, one of `choices`; `None`: the option's, else a random one.

    Raises:
        InvalidInputError: there is no such thing.
    """

    needs_readout: Final = True
    kind: ClassVar[str]
    """Name of the task without its thing."""
    option: ClassVar[str]
    """Key of the option."""
    choices: ClassVar[Collection[str]]
    """Allowed values of the option."""

    def __init__(self, thing: str | None = None) -> None:
        if thing is not None and thing not in self.choices:
            raise InvalidInputError(
                f"the task {self.kind!r} can be about one of {sorted(self.choices)}, got {short(thing)}"
            )
        self._thing = thing

    @property
    def name(self) -> str:
        """The kind of the task, and its thing if that is always the same: `face-target`, `face-target:door`."""
        return self.kind if self._thing is None else f"{self.kind}:{self._thing}"

    @property
    def option_names(self) -> Collection[str]:
        """The key of the task's one option; none if its thing is always the same."""
        return (self.option,) if self._thing is None else ()

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Checks that the option, if given, is one of the choices.

        Raises:
            InvalidInputError: the option has another value.
        """
        if self.option not in options:
            return
        value = options[self.option]
        if not isinstance(value, str) or value not in self.choices:
            raise InvalidInputError(f"{self.option} must be one of {sorted(self.choices)}, got {short(value)}")

    def choose(self, episode: EpisodeStart, candidates: Sequence[str]) -> str:
        """Returns the value of the option or else a random candidate; without candidates, a random choice."""
        names = candidates or tuple(self.choices)
        # Drawn even if the option is given, so that equal seeds mean equal episodes after this one.
        drawn = names[int(episode.rng.integers(len(names)))]
        return str(episode.options.get(self.option, self._thing or drawn))


@dataclass(frozen=True, kw_only=True, slots=True)
class FloorGoal(CheckedFields):
    """The goal of one episode that is about a place on the floor."""

    landmark: str
    """Name of the landmark at the place, or behind it."""
    x_m: float
    """Place on the floor."""
    y_m: float
    """Place on the floor."""

    def observe(self, moment: TaskView) -> Float32Array:
        """Returns cosine and sine of the bearing (0 straight ahead, positive to the left) and distance / 4 m, [3]."""
        return compass(known(moment), self.x_m, self.y_m)

    def describe(self) -> dict[str, Any]:
        """Returns the landmark's name and the place, float32 [2] in metres."""
        return {"target": self.landmark, "target_xy": np.array([self.x_m, self.y_m], np.float32)}


class FloorTask(RoomTask):
    """A task about a place on the floor, which the option `target` names by a landmark."""

    option = "target"

    def goal_space(self, image_size: int) -> spaces.Box:
        """Returns the bounds of `compass`: bearing as a unit vector, and distance."""
        return spaces.Box(
            np.array([-1.0, -1.0, 0.0], np.float32),
            np.array([1.0, 1.0, LARGEST_SCALED_DISTANCE], np.float32),
            dtype=np.float32,
        )


def outcome_of_progress(before: float, after: float, *, success: bool) -> Outcome:
    """Returns the outcome of a step: progress is the decrease of a quantity, and success ends the episode."""
    terms = {"progress": before - after, "success": SUCCESS_BONUS if success else 0.0}
    return Outcome(terms, success=success, terminated=success)


def bearing_rad(readout: WorldReadout, x_m: float, y_m: float) -> float:
    """Returns the bearing of a place from the base, in -pi..pi: 0 straight ahead, positive to the left."""
    bearing = math.atan2(y_m - readout.base_y_m, x_m - readout.base_x_m) - readout.base_yaw_rad
    return math.atan2(math.sin(bearing), math.cos(bearing))


def floor_distance_m(readout: WorldReadout, x_m: float, y_m: float) -> float:
    """Returns the distance from the middle of the base to a place on the floor."""
    return math.hypot(x_m - readout.base_x_m, y_m - readout.base_y_m)


def compass(readout: WorldReadout, x_m: float, y_m: float) -> Float32Array:
    """Returns cosine and sine of a place's bearing, and its distance / 4 m (at most 4): float32 [3]."""
    bearing = bearing_rad(readout, x_m, y_m)
    distance = min(floor_distance_m(readout, x_m, y_m) / DISTANCE_SCALE_M, LARGEST_SCALED_DISTANCE)
    return np.array([math.cos(bearing), math.sin(bearing), distance], np.float32)


def in_robot_frame(readout: WorldReadout, direction_m: Float32Array) -> Float32Array:
    """Rotates a direction [3] from the room's frame to the base's: x ahead, y to the left, z up."""
    cos, sin = math.cos(readout.base_yaw_rad), math.sin(readout.base_yaw_rad)
    x, y, z = direction_m.tolist()
    return np.array([cos * x + sin * y, cos * y - sin * x, z], np.float32)
