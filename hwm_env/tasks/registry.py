"""Tasks by name."""

from collections.abc import Callable
from typing import Final

from hwm_env.errors import InvalidInputError
from hwm_env.tasks.base import Task
from hwm_env.tasks.drive_to_target import DriveToTarget

TASKS: Final[dict[str, Callable[[], Task]]] = {DriveToTarget.name: DriveToTarget}
"""All named tasks."""


def make_task(name: str) -> Task:
    """Makes a task by name.

    Raises:
        InvalidInputError: there is no such task.
    """
    if name not in TASKS:
        raise InvalidInputError(f"unknown task {name!r}: expected one of {sorted(TASKS)}, a Task object, or None")
    return TASKS[name]()
