"""Robots: which of the 25 numbers of an action a robot has, and its own names and limits for them.

The model always sees 25 numbers (`hwm_env.types.ACTION_NAMES`). A robot with other joints says which number carries
which of its joints; the others are held at one value. Actions, states and displays then have the robot's own joints, in
its own order.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final

import numpy as np
from annotated_types import Len

from hwm_env.errors import InvalidInputError
from hwm_env.fields import ActionName, CheckedFields, from_json, short
from hwm_env.types import ACTION_DIM, ACTION_NAMES, Float32Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Joint(CheckedFields):
    """A joint, gripper or speed of a robot, and the number that carries it."""

    name: Annotated[str, Len(1)]
    """The robot's own name for it."""
    number: ActionName
    """Name of the number that carries it (`hwm_env.types.ACTION_NAMES`)."""
    low: float | None = None
    """Lowest value that the robot allows, in its own unit; `None`: the lowest in the training data."""
    high: float | None = None
    """Highest value that the robot allows; `None`: the highest in the training data."""

    def check_together(self) -> None:
        """Raises InvalidInputError if the limits do not fit each other, or the name is that of another number."""
        low, high = (-np.inf if self.low is None else self.low), (np.inf if self.high is None else self.high)
        if (self.low is None) != (self.high is None) or low >= high:
            raise InvalidInputError(
                f"joint {self.name!r}: low must be below high, or both left out, got {self.low} and {self.high}"
            )
        if self.name in ACTION_NAMES and self.name != self.number:
            raise InvalidInputError(
                f"joint {self.name!r} has the name of one of the 25 numbers, but {self.number} carries it; rename it"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Robot(CheckedFields):
    """A robot: a name, and its joints in its own order."""

    name: Annotated[str, Len(1)]
    joints: Annotated[tuple[Joint, ...], Len(1)] = field(
        default_factory=lambda: tuple(Joint(name=name, number=name) for name in ACTION_NAMES)
    )
    """The joints in the order of the robot's actions and states."""

    def check_together(self) -> None:
        """Raises InvalidInputError if two joints have one name or one number."""
        for kind in ("name", "number"):
            counts = Counter(getattr(joint, kind) for joint in self.joints)
            if twice := [value for value, count in counts.items() if count > 1]:
                raise InvalidInputError(f"each joint of a robot needs its own {kind}, but several have {twice[0]!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The robot's own names of its J joints, in its own order."""
        return tuple(joint.name for joint in self.joints)

    @property
    def indices(self) -> list[int]:
        """Index of each joint among the 25 numbers, [J]."""
        return [ACTION_NAMES.index(joint.number) for joint in self.joints]

    @property
    def names_of_numbers(self) -> tuple[str, ...]:
        """Names of the 25 numbers: the robot's own where it has a joint, else those of ACTION_NAMES."""
        own = {joint.number: joint.name for joint in self.joints}
        return tuple(own.get(name, name) for name in ACTION_NAMES)

    def name_of(self, number: str) -> str:
        """Returns the robot's own name of a number that carries a joint, else the number's name."""
        return self.names_of_numbers[ACTION_NAMES.index(number)]

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of the numbers that carry no joint."""
        return tuple(name for name in ACTION_NAMES if name not in {joint.number for joint in self.joints})

    def limits(self) -> tuple[Float32Array, Float32Array]:
        """Returns the lowest and highest values that the robot states, [25] each; NaN where it states none."""
        low, high = np.full((2, ACTION_DIM), np.nan, np.float32)
        for index, joint in zip(self.indices, self.joints, strict=True):
            if joint.low is not None and joint.high is not None:
                low[index], high[index] = joint.low, joint.high
        return low, high

    def to_json(self) -> dict[str, Any]:
        """Returns the content for JSON files; `read` restores it."""
        joints = [{key: value for key, value in asdict(joint).items() if value is not None} for joint in self.joints]
        return {"name": self.name, "joints": joints}

    @classmethod
    def read(cls, content: object) -> "Robot":
        """Makes a robot from the content of a JSON file.

        Raises:
            InvalidInputError: the content is not such an object, or its joints do not fit each other.
        """
        if not isinstance(content, Mapping) or set(content) != {"name", "joints"}:
            raise InvalidInputError(f'robot: expected an object with "name" and "joints", got {short(content)}')
        joints = content["joints"]
        if not isinstance(joints, Sequence) or isinstance(joints, str):
            raise InvalidInputError(f"robot: joints must be a list of objects, got {short(joints)}")
        try:
            return cls(name=content["name"], joints=tuple(from_json(Joint, joint) for joint in joints))
        except InvalidInputError as error:
            raise InvalidInputError(f"robot: {error}") from error


EVE: Final = Robot(name="EVE")
"""The robot of 1X and of the reference world: all 25 numbers by their own names, with the limits of the data."""
