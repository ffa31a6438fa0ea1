"""goal-image: move until the camera shows a given picture; needs no ground truth."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, cast

import numpy as np
import torch
from gymnasium import spaces

from hwm_env.errors import InvalidInputError
from hwm_env.fields import NotNegative, checked, short
from hwm_env.tasks.base import EpisodeStart, Outcome, TaskView
from hwm_env.tasks.distance import Space, distance, features
from hwm_env.tokenizers.fsq import latents_of
from hwm_env.types import FRAMES_PER_CLIP, Float32Array, UInt8Array, frozen

SUCCESS_BONUS: Final = 5.0
TOLERANCES: Final[Mapping[Space, float]] = {"latents": 0.5, "tokens": 0.9, "pixels": 0.11}
"""Distances at which a goal counts as reached: about the effect of a turn by 5 degrees in the reference room."""


@dataclass(frozen=True, slots=True, eq=False)
class GoalImageGoal:
    """The goal of one episode: a picture."""

    moment: TaskView
    """A moment whose last frame is the picture."""
    features: Float32Array | UInt8Array
    """Its part that is compared."""
    space: Space
    tolerance: float
    start: int | None
    """Index of the recorded start that ends with the picture; `None` for a user's own picture."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", frozen(self.features))

    def observe(self, moment: TaskView) -> UInt8Array:
        """Returns the picture, uint8 [S, S, 3]."""
        return self.moment.last_frame.copy()

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Rewards the decrease of the distance, and arrival, which ends the episode."""
        here = self.distance_to(now)
        arrived = here <= self.tolerance
        terms = {"progress": self.distance_to(previous) - here, "success": SUCCESS_BONUS if arrived else 0.0}
        return Outcome(terms, success=arrived, terminated=arrived)

    def describe(self) -> dict[str, Any]:
        """Returns the index of the recorded start that ends with the picture; -1 for a user's own picture."""
        return {"goal_start": -1 if self.start is None else self.start}

    def distance_to(self, moment: TaskView) -> float:
        """Returns the distance of the end of a clip from the picture, in the units of the space."""
        return distance(features(moment, self.space), self.features, self.space)


class GoalImage:
    """Move until the camera shows a given picture.

    Works in every world, since it needs only observations.

    ## Goal
    The last frame of a random recorded start. Observed as this picture, uint8 [S, S, 3].

    ## Rewards
    - *progress*: decrease of the distance to the goal in this env step;
    - *success*: 5 when that distance is at most the tolerance.

    ## Episode End
    Terminates with success.

    ## Options
    - *goal*: index of a recorded start; or a picture, uint8 [S, S, 3], or a clip, uint8 [17, S, S, 3], of the size of
      the world's frames; or a clip's tokens, int [3, h, w].

    Args:
        space: space in which distances are measured, see `hwm_env.tasks.distance`.
        tolerance: distance at which the goal counts as reached; `None` for the default in `TOLERANCES`.
    """

    name: Final = "goal-image"
    needs_readout: Final = False
    option_names: Final[Collection[str]] = ("goal",)

    def __init__(self, space: Space = "latents", tolerance: float | None = None) -> None:
        space, tolerance = checked("space", space, Space), checked("tolerance", tolerance, NotNegative | None)
        self.space = space
        self.tolerance = TOLERANCES[space] if tolerance is None else tolerance

    def goal_space(self, image_size: int) -> spaces.Box:
        """Returns the space of pictures of the size of the world's frames."""
        return spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Checks the type of the goal; `reset` checks that it fits the world.

        Raises:
            InvalidInputError: the goal is neither a number nor an array of whole numbers.
        """
        goal = options.get("goal", 0)
        is_number = isinstance(goal, int | np.integer) and not isinstance(goal, bool)
        is_array = isinstance(goal, np.ndarray) and np.issubdtype(goal.dtype, np.integer) and goal.ndim in (3, 4)
        if not is_number and not is_array:
            what = f"{goal.dtype} {list(goal.shape)}" if isinstance(goal, np.ndarray) else short(goal)
            raise InvalidInputError(
                "goal must be the index of a recorded start, a picture uint8 [S, S, 3], a clip uint8 [17, S, S, 3] or "
                f"tokens int [3, h, w], got {what}"
            )

    def reset(self, episode: EpisodeStart) -> GoalImageGoal:
        """Chooses the picture.

        Raises:
            InvalidInputError: the goal does not fit the world.
        """
        # Drawn even if the option is given, so that equal seeds mean equal episodes after this one.
        drawn = int(episode.rng.integers(episode.num_starts))
        goal = episode.options.get("goal", drawn)
        start: int | None = None
        if isinstance(goal, np.ndarray):
            moment = _pictured(goal, episode)
        else:
            if not 0 <= goal < episode.num_starts:
                raise InvalidInputError(f"goal must be a start in 0..{episode.num_starts - 1}, got {goal}")
            start, moment = int(goal), episode.recorded(int(goal))
        return GoalImageGoal(moment, features(moment, self.space), self.space, self.tolerance, start)


def _pictured(goal: np.ndarray[Any, Any], episode: EpisodeStart) -> TaskView:
    """Makes a moment that shows a user's picture, clip or tokens."""
    size, tokenizer = episode.moment.last_frame.shape, episode.tokenizer
    if goal.shape == episode.moment.tokens.shape and goal.dtype != np.uint8:
        tokens = torch.from_numpy(goal.astype(np.int64))[None]
        frame: UInt8Array = tokenizer.decode_last(tokens)[0].cpu().numpy()
    elif goal.dtype == np.uint8 and goal.shape in (size, (FRAMES_PER_CLIP, *size)):
        clip = np.broadcast_to(goal, (FRAMES_PER_CLIP, *size))
        tokens, frame = tokenizer.encode(torch.from_numpy(clip.copy())[None]).cpu(), clip[-1].copy()
    else:
        raise InvalidInputError(
            f"goal must be uint8 {list(size)} or {[FRAMES_PER_CLIP, *size]}, or tokens int "
            f"{list(episode.moment.tokens.shape)}, in this world; got {goal.dtype} {list(goal.shape)}"
        )
    latents = latents_of(tokens[0], tokenizer.fsq_levels)
    return cast(TaskView, SimpleNamespace(last_frame=frozen(frame), latents=frozen(latents)))
