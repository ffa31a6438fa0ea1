"""How far a training run is: by its steps, or by the time that it has used."""

import time
from collections.abc import Callable, Iterator, Mapping

from tqdm import tqdm

from hwm_env.training.runs.schedule import Recipe

SECONDS = 60.0


class Pace:
    """Counts the steps of a run, or its time, and says where on the schedule of learning rates it is.

    With `Recipe.minutes`, a run takes as many steps as fit into that time, and a schedule of `steps` steps is stretched
    over them. A resumed run continues with the time that it had used; the time in between does not count.

    Attributes:
        position: place on the schedule of the step that is being taken, in steps from 0 to `steps` - 1; not a whole
            number if the run is measured in minutes.
    """

    def __init__(self, recipe: Recipe, agreed: Callable[[float], float] = float) -> None:
        """Prepares a run.

        Args:
            recipe: its recipe.
            agreed: returns the first process's value in all processes of the run, given the value of this one.
        """
        self.position = 0.0
        self._num_steps = recipe.steps
        self._limit_s = None if recipe.minutes is None else SECONDS * recipe.minutes
        self._agreed = agreed
        self._used_s = 0.0

    def steps(self, first_step: int, description: str, *, silent: bool = False) -> Iterator[int]:
        """Yields the indices of all steps from this one on, with a progress bar; the time counts from the first."""
        start_s = time.monotonic() - self._used_s
        step = first_step
        total = self._num_steps if self._limit_s is None else None
        with tqdm(initial=first_step, total=total, desc=description, unit="step", disable=silent) as self._bar:
            while not self.is_over(step):
                yield step
                step += 1
                self._bar.update()
                if self._limit_s is not None:
                    self._used_s = self._agreed(time.monotonic() - start_s)

    def show(self, **numbers: float) -> None:
        """Shows numbers beside the progress bar, while steps are taken."""
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in numbers.items()}, refresh=False)

    def is_over(self, steps_done: int) -> bool:
        """Returns whether the run is at its end after so many steps; otherwise sets the next step's position."""
        if self._limit_s is None:
            self.position = float(steps_done)
            return steps_done >= self._num_steps
        share = self._used_s / self._limit_s
        self.position = min(1.0, share) * (self._num_steps - 1)
        return share >= 1

    def state_dict(self) -> dict[str, float]:
        """Returns the time used so far."""
        return {"used_s": self._used_s}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restores what `state_dict` returned."""
        self._used_s = state["used_s"]
