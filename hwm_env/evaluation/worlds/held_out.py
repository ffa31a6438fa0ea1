"""Held-out episodes: recorded frames and actions beside the tokens that a tokenizer makes of them."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hwm_env.data.format import METADATA_FILE
from hwm_env.data.reader import Dataset
from hwm_env.data.windows import FrameWindows
from hwm_env.errors import DatasetError
from hwm_env.reference.body import quantities
from hwm_env.tokenizers.base import VideoTokenizer
from hwm_env.types import FRAMES_PER_CLIP

ENCODING_BATCH = 16


def record_held_out(
    directory: Path, num_episodes: int, clips_per_episode: int, image_size: int, *, split: str = "held-out"
) -> Path:
    """Records a split of the reference world that no training sees, unless it is there already.

    Args:
        directory: where recordings are kept, each under its size.
        num_episodes: episodes, each from a place and behaviour of its own.
        clips_per_episode: their length.
        image_size: of the pictures, in pixels.
        split: its name; splits of different names share no episode.

    Returns:
        The directory of the recording.
    """
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


class HeldOut:
    """E uninterrupted episodes of C clips from a recording with raw images.

    Attributes:
        tokens: int32 [E, C, 3, H, W].
        actions: float32 [E, C, 17, 25], physical units.
    """

    tokens: Tensor
    actions: Tensor

    def __init__(
        self, recording: Path, tokenizer: VideoTokenizer, *, clips_per_episode: int, num_episodes: int
    ) -> None:
        """Encodes the first `num_episodes` stretches of the recording that do not overlap.

        Raises:
            DatasetError: there are not as many, or there are no raw images.
        """
        self.num_clips = clips_per_episode
        length = clips_per_episode * FRAMES_PER_CLIP
        self._dataset = Dataset(recording)
        self._windows = FrameWindows(self._dataset, length, stride_frames=length)
        if len(self._windows) < num_episodes:
            raise DatasetError(
                f"{recording} holds {len(self._windows)} stretches of {clips_per_episode} clips; expected "
                f"{num_episodes}; record more, or ask for fewer starts"
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
        """The recorded images of an episode: uint8 [C, 17, height, width, 3]."""
        frames: Tensor = torch.from_numpy(self._windows.gather(np.array([episode])).frames[0])
        clips: Tensor = frames.unflatten(0, (self.num_clips, FRAMES_PER_CLIP))
        return clips

    @property
    def is_of_reference_world(self) -> bool:
        """Whether the recording shows the reference world, in which more can be tried out."""
        return self._dataset.metadata.extra.get("source") == "hwm_env.reference"

    @property
    def has_poses(self) -> bool:
        """Whether the recording tells where the robot truly was."""
        return all(shard.poses is not None for shard in self._dataset.shards)

    def quantities(self) -> Tensor:
        """What a read-out should read from each clip: float32 [E, C, 15], see `Readout.read`.

        Raises:
            DatasetError: the recording has no true poses.
        """
        return quantities_of(self.poses(), self.actions[:, :, -1])

    def poses(self) -> Tensor:
        """True base poses (x and y in m, yaw in rad) at the last frame of each clip: float32 [E, C, 3].

        Raises:
            DatasetError: the recording has none.
        """
        return self.frame_poses()[:, :, -1]

    def frame_poses(self) -> Tensor:
        """True base poses at each frame: float32 [E, C, 17, 3].

        Raises:
            DatasetError: the recording has none.
        """
        poses = []
        for episode in range(len(self)):
            shard, first = self._windows.locate(episode)
            of_shard = self._dataset.shards[shard].poses
            if of_shard is None:
                raise DatasetError(
                    f"{self._dataset.directory} has no true poses; record the reference world with: hwm-env collect"
                )
            poses.append(of_shard[first : first + self.num_clips * FRAMES_PER_CLIP])
        together: Tensor = torch.from_numpy(np.stack(poses))
        by_clip: Tensor = together.unflatten(1, (self.num_clips, FRAMES_PER_CLIP))
        return by_clip


def quantities_of(poses: Tensor, numbers: Tensor) -> Tensor:
    """Quantities of poses [E, C, 3] and measured numbers [E, C, 25]: float32 [E, C, 15]."""
    flat = quantities(poses.flatten(0, 1).numpy(), numbers.flatten(0, 1).numpy())
    together: Tensor = torch.from_numpy(flat).float().unflatten(0, poses.shape[:2])
    return together
