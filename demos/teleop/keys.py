"""Loads the bindings of keys to actions."""

from collections.abc import Mapping
from pathlib import Path

import pygame

from demos.driving.controls import HELD, PRESSED
from hwm_env.data.files import check_file, parse_json
from hwm_env.errors import InvalidInputError
from hwm_env.fields import short


def load_bindings(file: Path | None) -> dict[int, str]:
    """Returns the action of each key, by pygame's key code.

    Args:
        file: JSON object from actions (HELD and PRESSED) to names of keys, for keys that differ from the default ones;
            `None`: all are the default ones.

    Raises:
        InvalidInputError: the file cannot be read, names an unknown key or action, or binds a key to two actions.
    """
    names = {action: key for action, (key, _) in {**HELD, **PRESSED}.items()}
    if file is not None:
        names |= _read(file)
    bindings: dict[int, str] = {}
    for action, name in names.items():
        try:
            code = pygame.key.key_code(name)
        except ValueError as error:
            raise InvalidInputError(f"{action}: there is no key {name!r}; use pygame's names of keys") from error
        if code in bindings:
            raise InvalidInputError(f"key {name!r} is bound to both {bindings[code]!r} and {action!r}; use another key")
        bindings[code] = action
    return bindings


def _read(file: Path) -> Mapping[str, str]:
    check_file(file, InvalidInputError, "give a JSON file of key bindings")
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"key bindings {file} cannot be read: {error}") from error
    known = {*HELD, *PRESSED}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
        raise InvalidInputError(
            f'key bindings {file}: expected an object like {{"forward": "w"}}, got {short(content)}'
        )
    if unknown := sorted(set(content) - known):
        raise InvalidInputError(
            f"key bindings {file}: there is no action {', '.join(unknown)}; actions are {', '.join(sorted(known))}"
        )
    return content
