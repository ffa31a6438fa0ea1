"""Actions of a driver's keys, sticks and buttons, for the window and the browser."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from demos.driving.command import GESTURES, DriveCommand
from hwm_env.robot import EVE, Robot

HELD: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "forward": ("w", "drive forward"),
        "back": ("s", "drive back"),
        "left": ("a", "turn left"),
        "right": ("d", "turn right"),
        "look up": ("up", "neck up"),
        "look down": ("down", "neck down"),
        "joint -": ("z", "chosen joint down"),
        "joint +": ("x", "chosen joint up"),
        "open hand": ("v", "open the limb's hand"),
        "close hand": ("c", "close the limb's hand"),
    }
)
"""Actions that last while their key is held: default key and description."""
PRESSED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "left arm up": ("i", "left arm up"),
        "right arm up": ("o", "right arm up"),
        "arms forward": ("p", "both arms forward"),
        "arms down": ("l", "both arms down"),
        "next limb": ("q", "choose the next limb"),
        "next joint": ("e", "choose its next joint"),
        "slower": ("-", "lower speed"),
        "faster": ("=", "higher speed"),
        "pause": ("space", "pause, continue"),
        "step": (".", "one step while paused"),
        "rewind": ("backspace", "undo a step"),
        "reset": ("return", "reset"),
        "next start": ("n", "reset to the next start"),
        "reseed": ("m", "new noise from here on"),
        "fewer passes": ("f5", "fewer decoding steps"),
        "more passes": ("f6", "more decoding steps"),
        "cooler": ("f7", "lower temperature"),
        "hotter": ("f8", "higher temperature"),
        "worlds": ("tab", "show other worlds"),
        "screenshot": ("f12", "save a picture"),
        "record": ("f9", "record, stop recording"),
        "numbers": ("b", "show, hide the numbers"),
        "help": ("h", "show, hide this help"),
        "quit": ("escape", "quit"),
    }
)
"""Actions that happen once when their key is pressed: default key and description."""
LIMBS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **{
            f"{side} arm": tuple(
                f"{side}_{joint}"
                for joint in (
                    "shoulder_pitch",
                    "shoulder_roll",
                    "shoulder_yaw",
                    "elbow_pitch",
                    "elbow_yaw",
                    "wrist_pitch",
                    "wrist_roll",
                )
            )
            for side in ("left", "right")
        },
        "body": ("hip_yaw", "hip_roll", "hip_pitch", "knee_pitch", "ankle_roll", "ankle_pitch"),
    }
)
SPEEDS: Final = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Sticks:
    """Axes of a gamepad or of on-screen sticks, each -1..1."""

    forward: float = 0.0
    turn: float = 0.0
    """Positive to the left."""
    look: float = 0.0
    """Positive downwards."""


class Controls:
    """The driver's choices: a limb and one of its joints, a speed, and a gesture.

    Args:
        robot: the robot, whose joints can be chosen; only EVE makes gestures.
    """

    def __init__(self, robot: Robot = EVE) -> None:
        self._robot = robot
        of_limbs = {limb: [name for name in LIMBS[limb] if name not in robot.unused] for limb in LIMBS}
        self._limbs = {limb: names for limb, names in of_limbs.items() if names}
        self._limb = self._joint = 0
        self._speed = len(SPEEDS) - 1
        self._gesture: str | None = None
        self._presses = 0

    @property
    def limb(self) -> str:
        """Name of the chosen limb; empty if the robot has none."""
        return list(self._limbs or ("",))[self._limb]

    @property
    def joint(self) -> str:
        """The robot's name of the chosen joint; empty if it has none."""
        return self._robot.name_of(self._number) if self._number else ""

    @property
    def _number(self) -> str:
        """The number that carries the chosen joint; empty if the robot has none."""
        return self._limbs[self.limb][self._joint] if self._limbs else ""

    @property
    def speed(self) -> float:
        """Chosen factor of driving speeds, 0..1."""
        return SPEEDS[self._speed]

    def press(self, action: str) -> None:
        """Changes a choice by an action of PRESSED; ignores those that change none."""
        if action in GESTURES and self._robot == EVE:
            self._gesture = action
            self._presses += 1
        elif action == "next limb":
            self._limb, self._joint = (self._limb + 1) % max(len(self._limbs), 1), 0
        elif action == "next joint":
            self._joint = (self._joint + 1) % max(len(self._limbs.get(self.limb, ())), 1)
        elif action in ("slower", "faster"):
            change = 1 if action == "faster" else -1
            self._speed = min(max(self._speed + change, 0), len(SPEEDS) - 1)

    def command(self, held: Collection[str], sticks: Sticks | None = None) -> DriveCommand:
        """Returns the present command.

        Args:
            held: actions of HELD whose keys are down.
            sticks: axes; `None`: centred.
        """
        sticks = sticks or Sticks()
        joints = {
            "neck_pitch": _difference(held, "look down", "look up", sticks.look),
            self._number: _difference(held, "joint +", "joint -"),
        }
        if self.limb.endswith("arm"):
            joints[f"{self.limb.split()[0]}_hand_closure"] = _difference(held, "close hand", "open hand")
        return DriveCommand(
            forward=_difference(held, "forward", "back", sticks.forward),
            turn=_difference(held, "left", "right", sticks.turn),
            speed=self.speed,
            joints={name: rate for name, rate in joints.items() if name and rate},
            gesture=self._gesture,
            presses=self._presses,
        )


def _difference(held: Collection[str], more: str, less: str, stick: float = 0.0) -> float:
    return float(np.clip((more in held) - (less in held) + stick, -1.0, 1.0))
