"""Configs on the command line, by tyro: what their fields look like there, and how they are parsed.

Fields are options by default. `Flat` removes the prefix from the options of a nested config; the others are arguments
without a name, each with the word that stands for it in the usage line.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from annotated_types import Len
from tyro.conf import Positional, arg

T = TypeVar("T")

Flat = Annotated[T, arg(name="")]

CheckpointArgument = Positional[Annotated[Path, arg(metavar="CHECKPOINT")]]
CheckpointNameArgument = Positional[Annotated[str, arg(metavar="[CHECKPOINT]")]]
DataArgument = Positional[Annotated[Path, arg(metavar="DATA")]]
ForeignArgument = Positional[Annotated[Path, arg(metavar="DIR")]]
OptionalOutArgument = Positional[Annotated[Path | None, arg(metavar="[OUT]")]]
OutArgument = Positional[Annotated[Path, arg(metavar="OUT")]]
PoliciesArgument = Positional[Annotated[Sequence[str], Len(1), arg(metavar="POLICY [POLICY ...]")]]
RecordingsArgument = Positional[Annotated[Path, arg(metavar="RECORDINGS")]]
ReplayArgument = Positional[Annotated[Path, arg(metavar="FILE")]]
SourceArgument = Positional[Annotated[Path, arg(metavar="SOURCE")]]


def parse_config(
    config: type[T],
    argv: Sequence[str] | None = None,
    *,
    program: str,
    description: str | None = None,
    **defaults: object,
) -> T:
    """Returns a config from a command line.

    Exits, as usual, after `--help` (0) and for options that do not exist or have no such values (2).

    Args:
        config: dataclass whose fields are the options, and whose docstrings are the help.
        argv: the arguments after the program's name; by default those of the process.
        program: the command, for the help.
        description: text above the options; by default the docstring of the config.
        defaults: default values of fields, in place of the config's own.

    Raises:
        InvalidInputError: a field has a value that is not allowed. (Unlike a partial one, a class would have tyro print
            the error in a box.)
    """
    known = fields(config)  # type: ignore[arg-type]
    made = {field.name: field.default_factory() for field in known if field.default_factory is not MISSING}
    # tyro takes a partial class for a config only if it has fields.
    make_config = partial(config, **made | defaults) if known else config
    return tyro.cli(make_config, args=argv, prog=program, description=description)
