"""The `options` of `reset`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Lt

from hwm_env.errors import InvalidInputError
from hwm_env.fields import checked, short
from hwm_env.tasks.base import BringsHistory, Task


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options of a reset."""

    start: int | None
    """Index of the recorded start; None: a random one."""
    state: Any
    """A saved state to begin from, not checked yet; None: a recorded start."""
    of_task: Mapping[str, Any]
    """Options of the task, checked."""


def parse_options(options: Mapping[str, Any] | None, num_starts: int, task: Task | None) -> Options:
    """Checks the options of a reset, all but the saved state.

    Args:
        options: the user's options.
        num_starts: number of recorded starts.
        task: the task, if there is one.

    Raises:
        InvalidInputError: an option is unknown or has a value that is not allowed.
    """
    if options is None:
        return Options(None, None, {})
    checked("options", options, Mapping[Any, Any])
    # Tasks with histories of their own decide where episodes begin.
    own = () if isinstance(task, BringsHistory) else ("start", "state")
    known = [*own, *(task.option_names if task else ())]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InvalidInputError(f"options must be some of {known}, got unknown {short(unknown)}")
    of_task = dict(options)
    state = of_task.pop("state", None)
    if state is None and "state" in options:
        raise InvalidInputError("the option state must be what get_state() returned, got None")
    start = None
    if "start" in options:
        start = checked("the option start", of_task.pop("start"), Annotated[int, Ge(0), Lt(num_starts)])
    if state is not None and start is not None:
        raise InvalidInputError("the options start and state exclude each other; give one of them")
    if task is not None:
        task.check_options(of_task)
    return Options(start, state, of_task)
