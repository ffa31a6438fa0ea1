"""Kinematics of robots, from which read-outs are computed where the base pose is known.

This is the only module on the way to HWM-v0 that names a robot: checkpoints do not state theirs, so that all of them
use the kinematics of the reference robot unless `LearnedWorld` is made with others.
"""

from collections.abc import Callable

import numpy.typing as npt

from hwm_env.reference.body import quantities
from hwm_env.types import Float64Array

Kinematics = Callable[[npt.ArrayLike, npt.ArrayLike], Float64Array]
"""Computes the numbers of WorldReadouts, float64 [N, 15], from base poses [N, 3] and measured numbers [N, 25]."""

REFERENCE_ROBOT: Kinematics = quantities
"""Kinematics of the reference robot."""
