"""Gestures of a teleoperator with arms, hands, head and leg: one at a time, with rests between."""

from typing import Final

import numpy as np

from hwm_env.reference import robot
from hwm_env.types import ACTION_NAMES, FRAME_RATE_HZ, Float32Array

_SHARES: Final = {"hold": 0.38, "arms": 0.30, "hands": 0.10, "look": 0.12, "crouch": 0.05, "twist": 0.05}
_ARM_POSES: Final[dict[str, dict[str, tuple[float, float]]]] = {
    "reach": {
        "shoulder_pitch": (0.9, 1.5),
        "shoulder_roll": (-0.05, 0.25),
        "shoulder_yaw": (-0.3, 0.3),
        "elbow_pitch": (0.1, 0.6),
        "elbow_yaw": (-0.4, 0.4),
        "wrist_pitch": (-0.3, 0.4),
        "wrist_roll": (-0.3, 0.3),
    },
    "raise": {
        "shoulder_pitch": (0.3, 1.0),
        "shoulder_roll": (0.0, 0.5),
        "shoulder_yaw": (-0.4, 0.5),
        "elbow_pitch": (0.8, 1.9),
        "elbow_yaw": (-0.6, 0.6),
        "wrist_pitch": (-0.5, 0.5),
        "wrist_roll": (-0.5, 0.5),
    },
}


def random_sides(rng: np.random.Generator) -> tuple[str, ...]:
    """Returns left, right or both, with equal probabilities."""
    both = ("left", "right")
    return (both[:1], both[1:], both)[rng.integers(3)]


def random_crouch(rng: np.random.Generator) -> dict[str, float]:
    """Returns joint angles (rad) by name that lower the torso and lean it."""
    depth, lean = rng.uniform(0.0, 0.4), rng.uniform(-0.1, 0.2)
    return {"ankle_pitch": depth, "knee_pitch": 2 * depth, "hip_pitch": depth + lean}


class Gesturer:
    """Chooses target angles and closures: a new gesture every one to three seconds.

    Args:
        rng: generator of all random choices.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._numbers = robot.pose({})
        self._frames_left = 0
        self._is_raised = {"left": False, "right": False}

    def targets(self) -> Float32Array:
        """Returns the target numbers of this frame, [25]; the velocities among them are zero."""
        if self._frames_left <= 0:
            self._frames_left = round(self._rng.uniform(1.0, 3.0) * FRAME_RATE_HZ)
            self._choose()
        self._frames_left -= 1
        return self._numbers

    def _choose(self) -> None:
        choice = self._rng.choice(list(_SHARES), p=list(_SHARES.values()))
        if choice == "arms":
            for side in random_sides(self._rng):
                self._move_arm(side)
        elif choice == "hands":
            for side in random_sides(self._rng):
                self._move_hand(side)
        elif choice == "look":
            self._set(neck_pitch=self._rng.uniform(-0.2, 0.6))
        elif choice == "crouch":
            self._set(**random_crouch(self._rng))
            self._set(hip_roll=self._rng.uniform(-0.1, 0.1), ankle_roll=self._rng.uniform(-0.05, 0.05))
        elif choice == "twist":
            self._set(hip_yaw=self._rng.uniform(-0.45, 0.45))
        elif self._rng.random() < 0.5:
            self._straighten()

    def _move_arm(self, side: str) -> None:
        goes_up = self._rng.random() < (0.35 if self._is_raised[side] else 0.9)
        self._is_raised[side] = goes_up
        if not goes_up:
            for joint in _ARM_POSES["reach"]:
                self._set_from_rest(f"{side}_{joint}")
            return
        ranges = _ARM_POSES["reach" if self._rng.random() < 0.65 else "raise"]
        self._set(**{f"{side}_{joint}": self._rng.uniform(low, high) for joint, (low, high) in ranges.items()})

    def _move_hand(self, side: str) -> None:
        is_closed = self._numbers[ACTION_NAMES.index(f"{side}_hand_closure")] > 0.5
        closure = self._rng.uniform(0.0, 0.2) if is_closed else self._rng.uniform(0.7, 1.0)
        self._set(**{f"{side}_hand_closure": closure})

    def _straighten(self) -> None:
        for name in ("ankle_pitch", "ankle_roll", "knee_pitch", "hip_pitch", "hip_roll", "hip_yaw", "neck_pitch"):
            self._set_from_rest(name)

    def _set_from_rest(self, name: str) -> None:
        self._set(**{name: float(robot.REST_POSE[ACTION_NAMES.index(name)])})

    def _set(self, **numbers: float) -> None:
        for name, value in numbers.items():
            self._numbers[ACTION_NAMES.index(name)] = value
