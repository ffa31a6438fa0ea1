"""Errors that a user can cause; each says what was expected, what came and what to do."""

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


class HWMError(Exception):
    """Base of every error that hwm_env raises on purpose; the CLI turns it into exit code 2."""


class InvalidInputError(HWMError, ValueError):
    """An argument, action or option is not of the form it must have."""


class DatasetError(HWMError, ValueError):
    """A data set's files are missing, truncated or contradict each other."""


class CheckpointError(HWMError, ValueError):
    """A checkpoint is unknown, incomplete or its parts do not fit each other."""


class SavingError(HWMError, OSError):
    """A file could not be written; what was there before is unharmed."""


class DivergedError(HWMError, FloatingPointError):
    """A training's loss or gradient is not finite any more."""


class ModelOutputError(HWMError, FloatingPointError):
    """A world model's output is not finite; the worlds are as they were.

    Attributes:
        worlds: those concerned.
    """

    def __init__(self, worlds: Sequence[int]) -> None:
        self.worlds = tuple(worlds)
        super().__init__(
            f"the model's output is not finite in world {', '.join(map(str, worlds))}; no world has changed: reset "
            "these, or look for weights that are not finite"
        )

    def among(self, worlds: Sequence[int]) -> "ModelOutputError":
        """The same for a caller whose worlds these were."""
        return ModelOutputError([worlds[world] for world in self.worlds])


class MissingExtraError(HWMError, ImportError):
    """An optional dependency is not installed."""


def described(error: BaseException) -> str:
    """An error of somebody else's code on one line: its kind, its message (cut where it is long) and where it arose."""
    message = " ".join(str(error).split())
    if len(message) > 300:
        # TorchScript has the reason at the end.
        message = f"{message[:100]} ... {message[-200:]}"
    places = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(place.filename).name}, line {place.lineno})" for place in places)
    return f"{type(error).__name__}: {message}{where}" if message else f"{type(error).__name__}{where}"


def require_extra(module: str, extra: str) -> ModuleType:
    """Imports an optional dependency.

    Args:
        module: the name to import, such as "mujoco".
        extra: the extra of hwm-env that brings it, such as "reference".

    Raises:
        MissingExtraError: the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} is needed here but cannot be imported ({error}); install it with: pip install 'hwm-env[{extra}]'"
        ) from error


@contextmanager
def exit_with_one_line() -> Iterator[None]:
    """For the body of a script: ends it with exit code 2 and one line on an error that a user can mend."""
    try:
        yield
    except (HWMError, OSError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).splitlines())}\n")
        raise SystemExit(2) from error
