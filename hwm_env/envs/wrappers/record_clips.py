"""RecordClips: videos of episodes with every frame, rewards and confidence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from hwm_env.data.labels import text_strip
from hwm_env.data.videos import encode_video
from hwm_env.envs.rendering import RENDER_SIZE, enlarged
from hwm_env.envs.wrappers.episode_files import EpisodeFiles, EpisodeRecorder
from hwm_env.types import UInt8Array

CHART_HEIGHT: Final = 48
"""Height of the strip of rewards, in pixels."""
_BACKGROUND, _AXIS, _GAIN, _LOSS = (24, 24, 28), (120, 120, 128), (86, 180, 233), (230, 159, 0)
"""Blue and orange of Okabe and Ito's palette, which colour-blind people can distinguish."""


class RecordClips(EpisodeRecorder, RecordConstructorArgs):
    """Writes `episode_00000.mp4` and so on: all 17 frames a step at 30 Hz, while RecordVideo keeps one.

    In a directory that already holds episodes, the numbers continue after them.

    Step and reward are above the frame; the sum of rewards, the confidence and a bar for the reward of each step so far
    are below it. Needs the extra "evaluation".

    Args:
        env: HWM-v0 or HWMReference-v0, with or without wrappers.
        directory: destination.
        episode_trigger: selects the episodes to record by index, counted from 0; by default all.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        directory: Path | str,
        episode_trigger: Callable[[int], bool] | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(self, directory=str(directory), episode_trigger=episode_trigger)
        self._files = EpisodeFiles(Path(directory), "episode_{:05d}.mp4")
        super().__init__(env, self._files)
        self._is_wanted = episode_trigger or (lambda episode: True)
        self._episode = -1
        self._clips: list[UInt8Array] = []
        self._rewards: list[float] = []
        self._confidences: list[float] = []

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment, and keeps the step's frames."""
        result = self.env.step(action)
        if self._is_wanted(self._episode):
            self._clips.append(self._humanoid.clip)
            self._rewards.append(float(result[1]))
            self._confidences.append(float(result[4]["confidence"]))
        return result

    def _begin(self, info: dict[str, Any]) -> None:
        self._episode += 1

    def _end(self) -> None:
        if self._clips:
            frames = [
                frame
                for step, clip in enumerate(self._clips)
                for frame in _pages(clip, step, self._rewards, self._confidences[step])
            ]
            self._files.add(self._episode, encode_video(np.stack(frames)))
            self._clips, self._rewards, self._confidences = [], [], []


def _pages(clip: UInt8Array, step: int, rewards: list[float], confidence: float) -> list[UInt8Array]:
    """Returns the frames of a step as they appear in the video."""
    header = text_strip(f"step {step + 1}   reward {rewards[step]:+.2f}", RENDER_SIZE)
    footer = text_strip(f"return {sum(rewards[: step + 1]):+.2f}   confidence {confidence:.1f}", RENDER_SIZE)
    # One scale for the whole video, or a tiny reward would look large until a larger one comes.
    largest = max(abs(reward) for reward in rewards)
    chart = reward_chart(rewards[: step + 1], len(rewards), RENDER_SIZE, largest)
    return [np.concatenate([header, enlarged(frame), footer, chart]) for frame in clip]


def reward_chart(rewards: list[float], num_steps: int, width: int, largest: float | None = None) -> UInt8Array:
    """Draws a bar for each reward, up or down from the middle.

    Args:
        rewards: rewards so far.
        num_steps: number of steps that fit into the chart.
        width: width of the chart in pixels.
        largest: absolute reward with the longest bar; None: the largest so far.

    Returns:
        uint8 [48, width, 3].
    """
    chart = np.full((CHART_HEIGHT, width, 3), _BACKGROUND, np.uint8)
    middle = CHART_HEIGHT // 2
    if largest is None:
        largest = max((abs(reward) for reward in rewards), default=0.0)
    for index, reward in enumerate(rewards):
        left, right = (width * place // num_steps for place in (index, index + 1))
        height = round(abs(reward) / largest * (middle - 2)) if largest else 0
        rows = slice(middle - height, middle) if reward > 0 else slice(middle + 1, middle + 1 + height)
        chart[rows, left : max(left + 1, right - 1)] = _GAIN if reward > 0 else _LOSS
    chart[middle] = _AXIS
    return chart
