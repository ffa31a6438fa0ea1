"""drive-to-target: drive the base to a place in front of something in the reference room."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from hwm_env.errors import InvalidInputError
from hwm_env.reference import room
from hwm_env.tasks.base import Outcome, WorldReadout
from hwm_env.types import Float32Array

SUCCESS_RADIUS_M: Final = 0.6
SUCCESS_BONUS: Final = 5.0
NEAREST_M: Final = 1.5
FARTHEST_M: Final = 4.0
"""A target is chosen between these distances from the start."""
_DISTANCE_SCALE_M: Final = 4.0
_LARGEST_SCALED_DISTANCE: Final = 4.0
_MARGIN_M: Final = 0.15
"""Room that is left around the base at a standing point."""


def _standing_point(landmark_xy: tuple[float, float]) -> tuple[float, float]:
    """The nearest place to a landmark, on the way to the middle of the room, where the base can stand."""
    landmark = np.array(landmark_xy)
    way = np.linspace(landmark, np.zeros(2), num=round(float(np.hypot(*landmark)) / 0.05))
    x, y = way[np.argmax(room.is_free(way, _MARGIN_M))]
    return float(x), float(y)


STANDING_POINTS: Final = {name: _standing_point(xy) for name, xy in room.LANDMARKS.items()}
"""Where the robot shall stop for each landmark, (x, y) in metres."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The goal of one episode: a place on the floor."""

    landmark: str
    """What it lies in front of."""
    x_m: float
    """Place on the floor."""
    y_m: float
    """Place on the floor."""

    def vector(self, readout: WorldReadout) -> Float32Array:
        """Cosine and sine of the bearing (0 straight ahead, positive to the left), distance / 4 m; float32 [3]."""
        bearing = math.atan2(self.y_m - readout.base_y_m, self.x_m - readout.base_x_m) - readout.base_yaw_rad
        distance = min(self.distance_m(readout) / _DISTANCE_SCALE_M, _LARGEST_SCALED_DISTANCE)
        return np.array([math.cos(bearing), math.sin(bearing), distance], np.float32)

    def evaluate(self, previous: WorldReadout, now: WorldReadout) -> Outcome:
        """Rewards the metres gained, and arriving; arriving ends the episode."""
        distance = self.distance_m(now)
        arrived = distance <= SUCCESS_RADIUS_M
        terms = {"progress": self.distance_m(previous) - distance, "success": SUCCESS_BONUS if arrived else 0.0}
        return Outcome(terms, success=arrived, terminated=arrived)

    def describe(self) -> dict[str, Any]:
        """The landmark's name and the place, float32 [2] in metres."""
        return {"target": self.landmark, "target_xy": np.array([self.x_m, self.y_m], np.float32)}

    def distance_m(self, readout: WorldReadout) -> float:
        """From the middle of the base."""
        return math.hypot(self.x_m - readout.base_x_m, self.y_m - readout.base_y_m)


class DriveToTarget:
    """Drive the base to a place in front of a named landmark of the reference room.

    ## Goal
    A free place on the floor in front of a random landmark, 1.5 to 4 m from the start. `options={"target": name}` names
    the landmark, at whatever distance it is. The goal vector is cos and sin of the bearing and the distance / 4 m.

    ## Rewards
    - *progress*: metres that the distance to the target has shrunk in this env step;
    - *success*: 5 when the base is within 0.6 m of the target.

    ## Episode End
    Terminates with success.
    """

    name: Final = "drive-to-target"

    @property
    def goal_space(self) -> spaces.Box:
        """Bearing as a unit vector, and distance."""
        return spaces.Box(
            np.array([-1, -1, 0], np.float32), np.array([1, 1, _LARGEST_SCALED_DISTANCE], np.float32), dtype=np.float32
        )

    @property
    def option_names(self) -> Collection[str]:
        """Only `target`."""
        return ("target",)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Looks whether the target is a landmark.

        Raises:
            InvalidInputError: it is not.
        """
        target = options.get("target", "table")
        if not isinstance(target, str) or target not in STANDING_POINTS:
            raise InvalidInputError(f"target must be one of {sorted(STANDING_POINTS)}, got {target!r}")

    def reset(self, rng: np.random.Generator, readout: WorldReadout, options: Mapping[str, Any]) -> Target:
        """Chooses a target."""
        targets = {name: Target(landmark=name, x_m=x, y_m=y) for name, (x, y) in STANDING_POINTS.items()}
        if "target" in options:
            return targets[options["target"]]
        distances = {name: target.distance_m(readout) for name, target in targets.items()}
        within_reach = [name for name, distance in distances.items() if NEAREST_M <= distance <= FARTHEST_M]
        # A read-out that is far off may leave nothing within reach; then anything but the place itself will do.
        names = within_reach or [name for name, distance in distances.items() if distance > FARTHEST_M]
        return targets[names[int(rng.integers(len(names)))]]
