"""Tasks by name."""

from collections.abc import Callable
from typing import Final, cast

from hwm_env.errors import InvalidInputError
from hwm_env.fields import short
from hwm_env.tasks.base import Task
from hwm_env.tasks.drive_to_target import DriveToTarget
from hwm_env.tasks.face_target import FaceTarget
from hwm_env.tasks.function import FunctionTask, RewardFunction
from hwm_env.tasks.goal_image import GoalImage
from hwm_env.tasks.look_at import LookAt
from hwm_env.tasks.reach_cube import ReachCube

TASKS: Final[dict[str, Callable[[], Task]]] = {
    DriveToTarget.name: DriveToTarget,
    FaceTarget.name: FaceTarget,
    GoalImage.name: GoalImage,
    LookAt.name: LookAt,
    ReachCube.name: ReachCube,
}
"""All tasks that need nothing but a name; `FollowRecording` needs a data set."""


def make_task(name: str) -> Task:
    """Makes a task by name.

    Raises:
        InvalidInputError: there is no such task.
    """
    if name not in TASKS:
        raise InvalidInputError(
            f"unknown task {short(name)}: expected one of {sorted(TASKS)}, a Task object, a function, or None"
        )
    return TASKS[name]()


def as_task(task: str | Task | RewardFunction | None) -> Task | None:
    """What an environment's argument `task` means.

    Raises:
        InvalidInputError: there is no task of this name, or it is nothing that could be one.
    """
    if task is None:
        return None
    if isinstance(task, str):
        return make_task(task)
    # A class is callable too, and a mistake here.
    if not isinstance(task, type):
        if hasattr(task, "reset"):
            return cast(Task, task)
        if callable(task):
            return FunctionTask(task)
    raise InvalidInputError(
        f"task must be one of {sorted(TASKS)}, a Task object, a function of two moments, or None, got {short(task)}"
    )
