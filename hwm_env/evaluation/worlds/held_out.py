"""Held-out episodes: recorded frames, actions and poses, with the tokens that a tokenizer makes of the frames."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.data.format import METADATA_FILE, ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.robots import check_robot
from hwm_env.data.windows import FrameWindows
from hwm_env.errors import CheckpointError, DatasetError
from hwm_env.reference.body import quantities
from hwm_env.robot import EVE, Robot
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.types import FRAMES_PER_CLIP, HISTORY_CLIPS

ENCODING_BATCH = 16
AT_REST = 0.05
"""Largest velocity (m/s, rad/s) of a robot at rest."""


def record_held_out(
    directory: Path,
    num_episodes: int,
    clips_per_episode: int,
    image_size: int,
    *,
    split: str = "held-out",
    robot: Robot = EVE,
) -> Path:
    """Records a split of the reference world that is not used in training, unless it exists already.

    Args:
        directory: parent of recordings, which are named by their sizes.
        num_episodes: number of episodes, with different places and behaviours.
        clips_per_episode: length of each episode.
        image_size: side of the images in pixels.
        split: name of the split; splits of different names share no episode.
        robot: the robot that is asked for; the reference world has EVE alone.

    Returns:
        The directory of the recording.

    Raises:
        CheckpointError: it is another robot.
    """
    check_reference(robot)
    from hwm_env.reference.collect import collect

    recording = directory / f"{num_episodes}x{clips_per_episode}-{image_size}px"
    if not (recording / METADATA_FILE).exists():
        collect(
            recording,
            num_episodes=num_episodes,
            seed=0,
            split=split,
            clips_per_episode=clips_per_episode,
            image_size=image_size,
        )
    return recording


def check_reference(robot: Robot) -> None:
    """Checks that a robot is the one of the reference world.

    Raises:
        CheckpointError: it is not.
    """
    if robot != EVE:
        raise CheckpointError(
            f"this works for {EVE.name} alone, whose body and room hwm_env can simulate, but the checkpoint's robot is "
            f"{robot.name}"
        )


class HeldOut:
    """E uninterrupted episodes of C clips from a recording with raw images.

    Attributes:
        tokens: int32 [E, C, 3, H, W].
        actions: float32 [E, C, 17, 25], physical units.
    """

    tokens: Tensor
    actions: Tensor

    def __init__(
        self,
        recording: Path,
        tokenizer: VideoTokenizer,
        *,
        clips_per_episode: int,
        num_episodes: int,
        robot: Robot = EVE,
    ) -> None:
        """Encodes the first `num_episodes` stretches of the recording that do not overlap.

        Args:
            recording: directory of a recording.
            tokenizer: encodes the frames.
            clips_per_episode: C.
            num_episodes: E.
            robot: the robot of the recording.

        Raises:
            DatasetError: the recording has fewer stretches, no raw images, or another robot.
        """
        self.num_clips = clips_per_episode
        length = clips_per_episode * FRAMES_PER_CLIP
        self._dataset = Dataset(recording)
        check_robot(robot, self._dataset)
        self._windows = FrameWindows(self._dataset, length, stride_frames=length)
        if len(self._windows) < num_episodes:
            raise DatasetError(
                f"{recording} holds {len(self._windows)} stretches of {clips_per_episode} clips; expected "
                f"{num_episodes}; record more, or use fewer starts"
            )
        self._num_episodes = num_episodes
        tokens, actions = [], []
        for episode in tqdm(range(num_episodes), desc="encode", unit="episode"):
            batch = self._windows.gather(np.array([episode]))
            clips = torch.from_numpy(batch.frames[0]).unflatten(0, (clips_per_episode, FRAMES_PER_CLIP))
            tokens.append(torch.cat([tokenizer.encode(part).cpu() for part in clips.split(ENCODING_BATCH)]))
            actions.append(torch.from_numpy(batch.actions[0]).unflatten(0, (clips_per_episode, FRAMES_PER_CLIP)))
        self.tokens, self.actions = torch.stack(tokens), torch.stack(actions)

    def __len__(self) -> int:
        return self._num_episodes

    def frames(self, episode: int) -> Tensor:
        """Returns the recorded images of an episode, uint8 [C, 17, height, width, 3]."""
        frames: Tensor = torch.from_numpy(self._windows.gather(np.array([episode])).frames[0])
        clips: Tensor = frames.unflatten(0, (self.num_clips, FRAMES_PER_CLIP))
        return clips

    @property
    def is_of_reference_world(self) -> bool:
        """Whether the recording is of the reference world, where other actions can be tried."""
        return self._dataset.metadata.extra.get("source") == "hwm_env.reference"

    @property
    def has_poses(self) -> bool:
        """Whether the recording has the true poses of the robot."""
        return all(shard.poses is not None for shard in self._dataset.shards)

    def quantities(self) -> Tensor:
        """Returns the true quantities of each clip, float32 [E, C, 15], see `Readout.read`.

        Raises:
            DatasetError: the recording has no true poses.
        """
        return quantities_of(self.poses(), self.actions[:, :, -1])

    def poses(self) -> Tensor:
        """Returns the true base poses (x and y in m, yaw in rad) at the last frame of each clip, float32 [E, C, 3].

        Raises:
            DatasetError: the recording has none.
        """
        return self.frame_poses()[:, :, -1]

    def frame_poses(self) -> Tensor:
        """Returns the true base poses at each frame, float32 [E, C, 17, 3].

        Raises:
            DatasetError: the recording has none.
        """
        self._dataset.require(ShardFile.POSES)
        poses = []
        for episode in range(len(self)):
            shard, first = self._windows.locate(episode)
            shard_poses = self._dataset.shards[shard].poses
            assert shard_poses is not None
            poses.append(shard_poses[first : first + self.num_clips * FRAMES_PER_CLIP])
        by_frame: Tensor = torch.from_numpy(np.stack(poses))
        by_clip: Tensor = by_frame.unflatten(1, (self.num_clips, FRAMES_PER_CLIP))
        return by_clip


def quantities_of(poses: Tensor, states: Tensor) -> Tensor:
    """Returns the quantities of poses [E, C, 3] and measured states [E, C, 25], float32 [E, C, 15]."""
    flat = quantities(poses.flatten(0, 1).numpy(), states.flatten(0, 1).numpy())
    by_clip: Tensor = torch.from_numpy(flat).float().unflatten(0, poses.shape[:2])
    return by_clip


def find_clips(by_clip: Tensor, suits: Callable[[int, int], bool], most: int) -> list[tuple[int, int]]:
    """Finds the first suitable clip of each episode that ends a history of nine clips.

    Args:
        by_clip: something of E episodes of C clips, [E, C, ...]; only its shape is used.
        suits: whether a clip, given by its episode and index, is suitable.
        most: largest number of clips to return.

    Returns:
        Episode and index of each clip; episodes without a suitable clip are left out.
    """
    num_episodes, num_clips = by_clip.shape[:2]
    clips = range(HISTORY_CLIPS - 1, num_clips)
    firsts = ((e, next((c for c in clips if suits(e, c)), None)) for e in range(num_episodes))
    return [(e, c) for e, c in firsts if c is not None][:most]
