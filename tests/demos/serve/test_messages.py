"""Messages of browsers, valid and invalid."""

import json

import pytest

from demos.driving.controls import Sticks
from demos.serve.messages import LARGEST_BYTES, Hold, Press, Wheel, parse
from hwm_env.errors import InvalidInputError


def test_messages() -> None:
    assert parse('{"type": "wheel", "take": true}') == Wheel(True)
    assert parse('{"type": "press", "action": "rewind"}') == Press("rewind")
    held = {"type": "hold", "actions": ["forward", "left"], "forward": 0, "turn": -1, "look": 0.25}
    assert parse(json.dumps(held)) == Hold(frozenset({"forward", "left"}), Sticks(0.0, -1.0, 0.25))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "null",
        "[" * 2000,
        "{}",
        '{"type": "hold"}',
        '{"type": "hold", "actions": ["fly"]}',
        '{"type": "hold", "actions": [["forward"]]}',
        '{"type": "hold", "actions": [], "turn": 2}',
        '{"type": "hold", "actions": [], "turn": NaN}',
        '{"type": "hold", "actions": [], "turn": "1"}',
        '{"type": "hold", "actions": [], "turn": true}',
        '{"type": "press", "action": "quit"}',
        '{"type": "press", "action": ["rewind"]}',
        '{"type": "press", "action": null}',
        '{"type": "wheel", "take": 1}',
        '{"type": ["wheel"], "take": true}',
        '{"type": "wheel", "take": true, "more": "' + "x" * LARGEST_BYTES + '"}',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse(text)
