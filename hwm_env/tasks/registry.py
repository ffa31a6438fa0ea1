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
from hwm_env.tasks.room_task import RoomTask

TASKS: Final[dict[str, Callable[[], Task]]] = {
    DriveToTarget.kind: DriveToTarget,
    FaceTarget.kind: FaceTarget,
    GoalImage.name: GoalImage,
    LookAt.kind: LookAt,
    ReachCube.kind: ReachCube,
}
"""All tasks that can be made from a name; `FollowRecording` needs a data set."""


def make_task(name: str) -> Task:
    """Makes a task by name.

    Args:
        name: one of TASKS; or one about a thing in the room, and that thing, which is then the same in every episode,
            such as "face-target:door".

    Raises:
        InvalidInputError: the name is unknown.
    """
    kind, separator, thing = name.partition(":")
    make = TASKS.get(kind)
    if make is not None and not separator:
        return make()
    if isinstance(make, type) and issubclass(make, RoomTask):
        return cast(Task, make(thing))
    raise _no_task(name)


def kind_of(name: str) -> str:
    """Returns the name of a task without its thing."""
    return name.partition(":")[0]


def as_task(task: str | Task | RewardFunction | None) -> Task | None:
    """Returns the task that an environment's argument `task` stands for.

    Raises:
        InvalidInputError: the name is unknown, or the value is no task.
    """
    if task is None:
        return None
    if isinstance(task, str):
        return make_task(task)
    # A class is callable too, but here it is a mistake.
    if not isinstance(task, type):
        if hasattr(task, "reset"):
            return cast(Task, task)
        if callable(task):
            return FunctionTask(task)
    raise _no_task(task)


def _no_task(value: object) -> InvalidInputError:
    return InvalidInputError(
        f"task must be one of {sorted(TASKS)}, one with a thing (such as 'face-target:door'), a Task object, a "
        f"function of two moments, or None, got {short(value)}"
    )
