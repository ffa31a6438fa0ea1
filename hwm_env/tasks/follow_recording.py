"""follow-recording: live a recording again, from nine of its clips on; needs no ground truth but the recording."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
from annotated_types import Ge, Lt
from gymnasium import spaces

from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.windows import ClipWindows
from hwm_env.fields import Count, NotNegative, checked
from hwm_env.tasks.base import EpisodeStart, Outcome, RecordedHistory, TaskView
from hwm_env.tasks.distance import distance
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.tokenizers.fsq import latents_of
from hwm_env.types import ACTION_DIM, FRAMES_PER_CLIP, HISTORY_CLIPS, Float32Array, Int32Array, frozen


@dataclass(frozen=True, slots=True, eq=False)
class Stretch(RecordedHistory):
    """A stretch of a recording: nine clips to begin after, and N to follow."""

    window: int
    """Its number in the data set."""
    later_tokens: Int32Array
    """int32 [N, 3, h, w]."""
    later_actions: Float32Array
    """float32 [N, 17, 25]."""


@dataclass(frozen=True, slots=True, eq=False)
class FollowRecordingGoal:
    """The goal of one episode: what was recorded in the clips that follow."""

    latents: Float32Array
    """Of the last latent of each clip, [N, h, w, digits]."""
    actions: Float32Array
    """The robot's numbers in each frame, [N, 17, 25]."""
    scale: Float32Array
    """What differences of the numbers are measured in, [25]."""
    tolerance: float
    window: int

    def __post_init__(self) -> None:
        for name in ("latents", "actions", "scale"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def observe(self, moment: TaskView) -> Float32Array:
        """The robot's numbers where the recording ends, float32 [25]."""
        last: Float32Array = self.actions[-1, -1]
        return last.copy()

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Rewards being where the recording was at the same time; the end of the recording ends the episode."""
        clip = min(elapsed_steps, len(self.actions)) - 1
        away = distance(now.latents[-1], self.latents[clip], "latents")
        off = (now.measured - self.actions[clip]) / self.scale
        is_over = elapsed_steps >= len(self.actions)
        terms = {"video": -away, "state": -float(np.sqrt((off**2).mean()))}
        return Outcome(terms, success=is_over and away <= self.tolerance, terminated=is_over)

    def describe(self) -> dict[str, Any]:
        """Which stretch of the data set it is."""
        return {"recording": self.window}


class FollowRecording:
    """Live a recording again: begins after nine of its clips, and compares each step with what was recorded.

    ## Goal
    A random stretch of a data set. Observed as the robot's numbers at its end, float32 [25].

    ## Rewards
    - *video*: minus the distance of the clip's last latent from the recorded one (root mean square of the values of its
      digits, 0 to 2);
    - *state*: minus the root mean square difference of the robot's numbers from the recorded ones, each in units of its
      standard deviation in the data set.

    ## Episode End
    Terminates where the recording ends; with success if the last *video* distance is at most the tolerance.

    ## Options
    - *recording*: number of a stretch, in place of a random one.

    Args:
        data: a tokenised data set (directory), of the world's tokenizer.
        num_steps: env steps, at least 1.
        tolerance: of success.

    Raises:
        DatasetError: the data set is damaged, or has no stretch of so many clips.
        InvalidInputError: a number is out of range.
    """

    name: Final = "follow-recording"
    needs_readout: Final = False
    option_names: Final[Collection[str]] = ("recording",)

    def __init__(self, data: Path | str, *, num_steps: int = 20, tolerance: float = 0.5) -> None:
        num_steps, tolerance = checked("num_steps", num_steps, Count), checked("tolerance", tolerance, NotNegative)
        self._dataset = Dataset(Path(data))
        self._windows = ClipWindows(self._dataset, HISTORY_CLIPS + num_steps)
        self._statistics = ActionStatistics.from_dataset(self._dataset)
        self._tolerance = tolerance
        self._known_tokenizer: str | None = None
        """The one that the data set was checked for."""

    def goal_space(self, image_size: int) -> spaces.Box:
        """Extremes of the data set."""
        low, high = self._statistics.low - np.float32(1e-3), self._statistics.high + np.float32(1e-3)
        return spaces.Box(low, high, (ACTION_DIM,), np.float32)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Looks whether there is such a stretch.

        Raises:
            InvalidInputError: there is not.
        """
        checked("recording", options.get("recording", 0), Annotated[int, Ge(0), Lt(len(self._windows))])

    def history(self, rng: np.random.Generator, options: Mapping[str, Any]) -> RecordedHistory:
        """The first nine clips of a stretch."""
        # Drawn even where the user names one, so that equal seeds mean equal episodes after this one.
        drawn = int(rng.integers(len(self._windows)))
        window = int(options.get("recording", drawn))
        batch = self._windows.gather(np.array([window]))
        shard, first_clip = self._windows.locate(window)
        poses = self._dataset.shards[shard].poses
        last_frame = (first_clip + HISTORY_CLIPS) * FRAMES_PER_CLIP - 1
        return Stretch(
            batch.tokens[0, :HISTORY_CLIPS],
            batch.actions[0, :HISTORY_CLIPS],
            None if poses is None else np.array(poses[last_frame]),
            window,
            batch.tokens[0, HISTORY_CLIPS:],
            batch.actions[0, HISTORY_CLIPS:],
        )

    def reset(self, episode: EpisodeStart) -> FollowRecordingGoal:
        """The clips that follow.

        Raises:
            DatasetError: another tokenizer made the data set.
        """
        if self._known_tokenizer != episode.tokenizer.identity:
            check_tokenizer(episode.tokenizer, self._dataset)
            self._known_tokenizer = episode.tokenizer.identity
        stretch = episode.history
        assert isinstance(stretch, Stretch), "episodes of this task begin with a history of its own"
        latents = latents_of(torch.from_numpy(stretch.later_tokens[:, -1]), episode.tokenizer.fsq_levels)
        scale = np.maximum(self._statistics.std, np.float32(1e-3))
        return FollowRecordingGoal(latents, stretch.later_actions, scale, self._tolerance, stretch.window)
