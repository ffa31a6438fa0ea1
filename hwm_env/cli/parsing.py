"""From the words of a command line to the config of a workflow, by tyro."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import tyro

from hwm_env.arguments import parse_config
from hwm_env.cli.commands import COMMANDS, Command

PROGRAM: Final = "hwm-env"


@dataclass(frozen=True, slots=True)
class _PresetChoice:
    """The option that decides the default values of the others."""

    preset: str = "room-64"


def parse(argv: Sequence[str]) -> tuple[Command, Any]:
    """Returns the command that the first word names, and its config.

    Exits, as usual, after `--help` (0) and for unknown commands and options (2).

    Raises:
        InvalidInputError: a field of the config has a value that is not allowed.
    """
    if not argv or argv[0] not in COMMANDS:
        # Only for the list of commands and the error messages: it does not return.
        listed = {name: _described(command) for name, command in COMMANDS.items()}
        tyro.extras.subcommand_cli_from_dict(
            listed,
            prog=PROGRAM,
            description="A learned simulator of a humanoid robot, from recordings to evaluation.",
            args=argv,
        )
        raise SystemExit(2)
    name, *options = argv
    command, defaults = COMMANDS[name], {}
    if command.preset_fields is not None:
        choice, _ = tyro.cli(_PresetChoice, args=options, return_unknown_args=True, add_help=False)
        defaults = command.load(command.preset_fields)(choice.preset)
    program, description = f"{PROGRAM} {name}", _description(command.run)
    return command, parse_config(
        command.load(command.config), options, program=program, description=description, **defaults
    )


def _described(command: Command) -> Callable[[], None]:
    """A function that has nothing but the summary of a command."""

    def summarised() -> None: ...

    summarised.__doc__ = command.summary
    return summarised


def _description(function: Callable[..., object]) -> str:
    """The docstring of a function, without the sections about arguments, results and errors."""
    return re.split(r"\n\n(?:Args|Returns|Raises):", inspect.getdoc(function) or "")[0]
