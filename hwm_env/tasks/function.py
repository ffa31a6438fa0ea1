"""Tasks from any reward function of two moments."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hwm_env.errors import InvalidInputError
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView

RewardFunction = Callable[[TaskView, TaskView], float | Mapping[str, float] | Outcome]
"""Maps the moments before and after an env step to a reward, to reward terms by name, or to an Outcome, which can also
end the episode."""


class FunctionTask:
    """A task whose reward is a function of the moments before and after an env step.

    There is no goal to observe. An episode terminates only if the function returns an Outcome that does so. A moment's
    `readout` is `None` in worlds without one.

    Args:
        function: called once an env step.
    """

    needs_readout: Final = False
    option_names: Final[Collection[str]] = ()

    def __init__(self, function: RewardFunction) -> None:
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def goal_space(self, image_size: int) -> spaces.Box | None:
        """Returns `None`: there is no goal to observe."""
        return None

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Does nothing: there are no options."""

    def reset(self, episode: EpisodeStart) -> "FunctionTask":
        """Returns the task itself, which is its goal in every episode."""
        return self

    def observe(self, moment: TaskView) -> npt.NDArray[Any]:
        """Returns an empty array."""
        return np.zeros(0, np.float32)

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Calls the function.

        Raises:
            InvalidInputError: the function returns another type, or a reward that is not finite.
        """
        result = self._function(previous, now)
        terms = result.reward_terms if isinstance(result, Outcome) else result
        if not isinstance(terms, Mapping):
            terms = {"reward": terms}
        if not all(isinstance(value, int | float | np.number | np.bool_) for value in terms.values()):
            raise InvalidInputError(
                f"the task {self.name!r} must return a number, a dict of numbers or an Outcome, got {result!r}"
            )
        numbers = {str(name): float(value) for name, value in terms.items()}
        if not np.isfinite(sum(numbers.values())):
            raise InvalidInputError(f"the task {self.name!r} must return finite rewards, got {numbers}")
        if isinstance(result, Outcome):
            return Outcome(numbers, success=bool(result.success), terminated=bool(result.terminated))
        return Outcome(numbers, success=False, terminated=False)

    def describe(self) -> dict[str, Any]:
        """Returns no entries."""
        return {}
