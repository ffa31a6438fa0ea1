"""The `options` of `reset`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.tasks.base import Task


def split_options(
    options: Mapping[str, Any] | None, num_starts: int, task: Task | None
) -> tuple[int | None, dict[str, Any]]:
    """Checks the options of a reset without changing anything.

    Args:
        options: what the user gave.
        num_starts: starts of the world.
        task: the task, if there is one.

    Returns:
        The wanted start, if any, and the options that belong to the task.

    Raises:
        InvalidInputError: an option is unknown or has a value that is not allowed.
    """
    if options is None:
        return None, {}
    if not isinstance(options, Mapping):
        raise InvalidInputError(f"options must be a dict, got {type(options).__name__}")
    known = ["start", *(task.option_names if task else ())]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InvalidInputError(f"unknown reset options {unknown}: expected some of {known}")
    task_options = dict(options)
    start = _checked_start(task_options.pop("start"), num_starts) if "start" in options else None
    if task is not None:
        task.check_options(task_options)
    return start, task_options


def _checked_start(start: object, num_starts: int) -> int:
    # A bool is an int to Python, and a mistake here.
    if not isinstance(start, int | np.integer) or isinstance(start, bool) or not 0 <= start < num_starts:
        raise InvalidInputError(f"the option start must be a whole number in 0..{num_starts - 1}, got {start!r}")
    return int(start)
