"""Messages from browsers."""

import json
from dataclasses import dataclass
from typing import Any, Final

from demos.driving.controls import HELD, PRESSED, Sticks
from hwm_env.errors import InvalidInputError

LARGEST_BYTES: Final = 2_048
MOST_A_SECOND: Final = 60
OF_A_WINDOW: Final = ("quit", "screenshot", "record", "numbers", "help")
"""Actions of the window alone, which browsers cannot send."""
_BUTTONS: Final = [action for action in PRESSED if action not in OF_A_WINDOW]


@dataclass(frozen=True, slots=True)
class Wheel:
    """The viewer takes or releases the wheel."""

    take: bool
    """Whether it takes it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """All actions that are held, and the sticks."""

    actions: frozenset[str]
    sticks: Sticks


@dataclass(frozen=True, slots=True)
class Press:
    """A button or key was pressed."""

    action: str


Message = Wheel | Hold | Press


def parse(text: str) -> Message:
    """Parses a message: a JSON object with `type` "wheel", "hold" or "press".

    Raises:
        InvalidInputError: the text is too long, or no such message.
    """
    size = len(text.encode())
    if size > LARGEST_BYTES:
        raise InvalidInputError(f"expected a message of at most {LARGEST_BYTES} bytes, got {size}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"expected JSON, got {text[:40]!r}") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"expected a JSON object, got {text[:40]!r}")
    kind = content.get("type")
    if kind == "wheel" and isinstance(content.get("take"), bool):
        return Wheel(content["take"])
    if kind == "hold":
        sticks = Sticks(*(_axis(content, name) for name in ("forward", "turn", "look")))
        return Hold(_held(content.get("actions")), sticks)
    if kind == "press" and content.get("action") in _BUTTONS:
        return Press(content["action"])
    raise InvalidInputError(f"expected a message of type wheel, hold or press, got {text[:80]!r}")


def _held(actions: Any) -> frozenset[str]:
    if not isinstance(actions, list) or not all(isinstance(action, str) and action in HELD for action in actions):
        raise InvalidInputError(f"expected a list of held actions out of {', '.join(HELD)}")
    return frozenset(actions)


def _axis(content: dict[str, Any], name: str) -> float:
    value = content.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
        raise InvalidInputError(f"expected {name} in -1..1, got {str(value)[:40]}")
    return float(value)
