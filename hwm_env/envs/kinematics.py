"""Kinematics of robots, from which read-outs are computed where the base pose is known.

Only those of EVE are known here; `LearnedWorld` can be made with those of another robot.
"""

from collections.abc import Callable

import numpy.typing as npt

from hwm_env.reference.body import quantities
from hwm_env.robot import EVE, Robot
from hwm_env.types import Float64Array

Kinematics = Callable[[npt.ArrayLike, npt.ArrayLike], Float64Array]
"""Computes the numbers of WorldReadouts, float64 [N, 15], from base poses [N, 3] and measured numbers [N, 25]."""


def kinematics_of(robot: Robot) -> Kinematics | None:
    """Returns the kinematics of a robot; `None` if they are not known."""
    return quantities if robot == EVE else None
