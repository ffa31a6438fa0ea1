"""follow-recording: repeat a recorded stretch after its first nine clips; needs no ground truth but the recording."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
from annotated_types import Ge, Lt
from gymnasium import spaces

from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.windows import ClipWindows
from hwm_env.fields import Count, NotNegative, checked
from hwm_env.tasks.base import EpisodeStart, Outcome, RecordedHistory, TaskView
from hwm_env.tasks.distance import distance
from hwm_env.tokenizers.checks import check_tokenizer
from hwm_env.tokenizers.fsq import latents_of
from hwm_env.types import FRAMES_PER_CLIP, HISTORY_CLIPS, Float32Array, Int32Array, frozen


@dataclass(frozen=True, slots=True, eq=False)
class Stretch(RecordedHistory):
    """A stretch of a recording: nine clips of history, and N clips to follow."""

    window: int
    """Index of the stretch in the data set."""
    later_tokens: Int32Array
    """Tokens of the clips to follow, int32 [N, 3, h, w]."""
    later_actions: Float32Array
    """Actions of the clips to follow, float32 [N, 17, 25]."""


@dataclass(frozen=True, slots=True, eq=False)
class FollowRecordingGoal:
    """The goal of one episode: the recorded clips that follow."""

    latents: Float32Array
    """Digit values of each clip's last latent, [N, h, w, digits]."""
    actions: Float32Array
    """The robot's numbers in each frame, [N, 17, 25]."""
    scale: Float32Array
    """Unit in which differences of each number are measured, [25]."""
    joints: Sequence[int]
    """Index of each of the robot's joints among the 25 numbers, [J]."""
    tolerance: float
    window: int

    def __post_init__(self) -> None:
        for name in ("latents", "actions", "scale"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def observe(self, moment: TaskView) -> Float32Array:
        """Returns the robot's joints at the end of the recording, float32 [J]."""
        last: Float32Array = self.actions[-1, -1, self.joints]
        return last

    def evaluate(self, previous: TaskView, now: TaskView, elapsed_steps: int) -> Outcome:
        """Rewards agreement with the recorded clip of the same step; ends the episode with the recording."""
        clip = min(elapsed_steps, len(self.actions)) - 1
        away = distance(now.latents[-1], self.latents[clip], "latents")
        off = ((now.measured - self.actions[clip]) / self.scale)[:, self.joints]
        is_over = elapsed_steps >= len(self.actions)
        terms = {"video": -away, "state": -float(np.sqrt((off**2).mean()))}
        return Outcome(terms, success=is_over and away <= self.tolerance, terminated=is_over)

    def describe(self) -> dict[str, Any]:
        """Returns the index of the stretch in the data set."""
        return {"recording": self.window}


class FollowRecording:
    """Repeat a recording: begins after nine of its clips and compares each step with the recorded clip.

    ## Goal
    A random stretch of a data set. Observed as the robot's joints at its end (of EVE, the 25 numbers), float32 [J].

    ## Rewards
    - *video*: minus the distance of the clip's last latent from the recorded one (root mean square difference of its
      digits' values, 0 to 2);
    - *state*: minus the root mean square difference of the robot's joints from the recorded ones, each in units of its
      standard deviation in the data set.

    ## Episode End
    Terminates at the end of the recording, with success if the last *video* distance is at most the tolerance.

    ## Options
    - *recording*: index of a stretch, instead of a random one.

    Args:
        data: directory of a data set that was tokenised with the world's tokenizer.
        num_steps: env steps, at least 1.
        tolerance: largest final *video* distance that counts as success.

    Raises:
        DatasetError: the data set is damaged or has no stretch of this many clips.
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
        """Identity of the tokenizer that the data set was last checked against."""

    def goal_space(self, image_size: int) -> spaces.Box:
        """Returns the extremes of the data set."""
        joints = self._dataset.metadata.robot.indices
        low, high = self._statistics.low - np.float32(1e-3), self._statistics.high + np.float32(1e-3)
        return spaces.Box(low[joints], high[joints], dtype=np.float32)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Checks that `recording`, if given, is the index of a stretch.

        Raises:
            InvalidInputError: it is not.
        """
        checked("recording", options.get("recording", 0), Annotated[int, Ge(0), Lt(len(self._windows))])

    def history(self, rng: np.random.Generator, options: Mapping[str, Any]) -> RecordedHistory:
        """Returns the first nine clips of a stretch."""
        # Drawn even if the option is given, so that equal seeds mean equal episodes after this one.
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
        """Returns the clips that follow the history as the goal.

        Raises:
            CheckpointError: the data set was made with another tokenizer.
            DatasetError: it is of another robot.
        """
        check_robot(episode.robot, self._dataset)
        if self._known_tokenizer != episode.tokenizer.token_identity:
            check_tokenizer(episode.tokenizer, self._dataset)
            self._known_tokenizer = episode.tokenizer.token_identity
        stretch = episode.history
        assert isinstance(stretch, Stretch), "episodes of this task begin with a stretch"
        latents = latents_of(torch.from_numpy(stretch.later_tokens[:, -1]), episode.tokenizer.fsq_levels)
        scale = np.maximum(self._statistics.std, np.float32(1e-3))
        joints = episode.robot.indices
        return FollowRecordingGoal(latents, stretch.later_actions, scale, joints, self._tolerance, stretch.window)
