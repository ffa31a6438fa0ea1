"""Errors that a user can cause. Messages name the argument, the value and the remedy."""

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


class HWMError(Exception):
    """Base of all errors that hwm_env raises on purpose; the CLI exits with code 2 on them."""


class InvalidInputError(HWMError, ValueError):
    """An argument, action or option is invalid."""


class DatasetError(HWMError, ValueError):
    """A data set's files are missing, truncated or inconsistent."""


class CheckpointError(HWMError, ValueError):
    """A checkpoint is unknown or incomplete, or its parts do not fit each other."""


class SavingError(HWMError, OSError):
    """A file could not be written; the previous file, if any, is unchanged."""


class DivergedError(HWMError, FloatingPointError):
    """The loss or gradient of a training is no longer finite."""


class ModelOutputError(HWMError, FloatingPointError):
    """A world model's output is not finite; the state is unchanged.

    Attributes:
        rows: rows of the batch whose output is not finite.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = tuple(rows)
        super().__init__(
            f"the model's output is not finite in row {', '.join(map(str, rows))}; no state has changed: reset these "
            "rows, or check the weights for NaN and infinity"
        )

    def among(self, rows: Sequence[int]) -> "ModelOutputError":
        """Returns the same error for a caller's larger batch, given the rows that this batch had there."""
        return ModelOutputError([rows[row] for row in self.rows])


class ServiceError(HWMError, ConnectionError):
    """A world-model service cannot be reached, or does not answer as one."""


class MissingExtraError(HWMError, ImportError):
    """An optional dependency is not installed."""


def described(error: BaseException) -> str:
    """Describes an error of foreign code on one line: its type, its message (shortened if long) and its place."""
    message = " ".join(str(error).split())
    if len(message) > 300:
        # TorchScript puts the reason at the end.
        message = f"{message[:100]} ... {message[-200:]}"
    places = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(place.filename).name}, line {place.lineno})" for place in places)
    return f"{type(error).__name__}: {message}{where}" if message else f"{type(error).__name__}{where}"


def require_extra(module: str, extra: str) -> ModuleType:
    """Imports an optional dependency.

    Args:
        module: name of the module, such as "mujoco".
        extra: extra of hwm-env that installs it, such as "reference".

    Raises:
        MissingExtraError: the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} is required but cannot be imported ({error}); install it with: pip install 'hwm-env[{extra}]'"
        ) from error


@contextmanager
def exit_with_one_line() -> Iterator[None]:
    """Exits a script with code 2 and one line of text on an error that the user can fix."""
    try:
        yield
    except (HWMError, OSError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).splitlines())}\n")
        raise SystemExit(2) from error
