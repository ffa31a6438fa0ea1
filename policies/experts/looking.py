"""The controller of look-at, which moves neck and base."""

import numpy as np

from hwm_env.reference import robot
from hwm_env.types import ACTION_NAMES, Float32Array
from policies.experts.controller import angle, drive

NECK_PITCH = ACTION_NAMES.index("neck_pitch")


class LookAtController:
    """Controls look-at: turns the base towards the landmark, and pitches the neck to it."""

    def target(self, state: Float32Array, goal: Float32Array) -> Float32Array:
        """Returns the target values of the next clip; see Controller."""
        cos, sin, tilt = goal.tolist()
        wanted = drive(state, turn_rad=angle(cos, sin))
        # A pitch is positive towards the floor.
        pitch = state[NECK_PITCH] - tilt * np.pi
        wanted[NECK_PITCH] = np.clip(pitch, robot.ACTION_LOW[NECK_PITCH], robot.ACTION_HIGH[NECK_PITCH])
        return wanted
