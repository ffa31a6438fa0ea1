"""What the tasks of the reference room share: their options, their reward, and where things are seen from the robot."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.fields import short
from hwm_env.tasks.base import EpisodeStart, Outcome, WorldReadout
from hwm_env.types import Float32Array

SUCCESS_BONUS: Final = 5.0
DISTANCE_SCALE_M: Final = 4.0
"""What goals call 1."""
LARGEST_SCALED_DISTANCE: Final = 4.0
"""Goals never show a larger number: read-outs of learned worlds may be far off."""


class RoomTask:
    """A task about one thing in the reference room, which one option can name."""

    needs_readout: Final = True
    option: ClassVar[str]
    """Key of the option."""
    choices: ClassVar[Collection[str]]
    """What it can name."""

    @property
    def option_names(self) -> Collection[str]:
        """Only that one."""
        return (self.option,)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Looks whether the option names something.

        Raises:
            InvalidInputError: it does not.
        """
        if self.option not in options:
            return
        value = options[self.option]
        if not isinstance(value, str) or value not in self.choices:
            raise InvalidInputError(f"{self.option} must be one of {sorted(self.choices)}, got {short(value)}")

    def choose(self, episode: EpisodeStart, candidates: Sequence[str]) -> str:
        """What the option names; otherwise one of the candidates at random, or of all choices where there is none."""
        names = candidates or tuple(self.choices)
        # Drawn even where the option names one, so that equal seeds mean equal episodes after this one.
        drawn = names[int(episode.rng.integers(len(names)))]
        return str(episode.options.get(self.option, drawn))


def outcome_of_progress(before: float, after: float, *, success: bool) -> Outcome:
    """Rewards by how much something that shall become small has shrunk, and success, which ends the episode."""
    terms = {"progress": before - after, "success": SUCCESS_BONUS if success else 0.0}
    return Outcome(terms, success=success, terminated=success)


def bearing_rad(readout: WorldReadout, x_m: float, y_m: float) -> float:
    """Where a place is seen from the base, in -pi..pi: 0 straight ahead, positive to the left."""
    bearing = math.atan2(y_m - readout.base_y_m, x_m - readout.base_x_m) - readout.base_yaw_rad
    return math.atan2(math.sin(bearing), math.cos(bearing))


def floor_distance_m(readout: WorldReadout, x_m: float, y_m: float) -> float:
    """From the middle of the base to a place on the floor."""
    return math.hypot(x_m - readout.base_x_m, y_m - readout.base_y_m)


def compass(readout: WorldReadout, x_m: float, y_m: float) -> Float32Array:
    """Cosine and sine of a place's bearing, and its distance / 4 m (at most 4): float32 [3]."""
    bearing = bearing_rad(readout, x_m, y_m)
    distance = min(floor_distance_m(readout, x_m, y_m) / DISTANCE_SCALE_M, LARGEST_SCALED_DISTANCE)
    return np.array([math.cos(bearing), math.sin(bearing), distance], np.float32)


COMPASS_LOW: Final = (-1.0, -1.0, 0.0)
COMPASS_HIGH: Final = (1.0, 1.0, LARGEST_SCALED_DISTANCE)
"""Bounds of what `compass` shows."""


def in_robot_frame(readout: WorldReadout, direction_m: Float32Array) -> Float32Array:
    """A direction of the room, [3], as the base sees it: x ahead, y to the left, z up."""
    cos, sin = math.cos(readout.base_yaw_rad), math.sin(readout.base_yaw_rad)
    x, y, z = direction_m.tolist()
    return np.array([cos * x + sin * y, cos * y - sin * x, z], np.float32)
