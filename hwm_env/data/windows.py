"""Windows of consecutive clips or frames that never cross a segment."""

from typing import NamedTuple

import numpy as np

from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset
from hwm_env.data.segments import clip_is_whole, frame_window_starts, num_covered, window_starts
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.fields import Count, checked
from hwm_env.types import (
    ACTION_DIM,
    FRAMES_PER_CLIP,
    LATENTS_PER_CLIP,
    POSE_DIM,
    Float32Array,
    Int32Array,
    Int64Array,
    UInt8Array,
)


class ClipBatch(NamedTuple):
    """Windows of T clips."""

    tokens: Int32Array
    """int32 [B, T, 3, h, w]"""
    actions: Float32Array
    """float32 [B, T, 17, 25]"""


class FrameBatch(NamedTuple):
    """Windows of F frames."""

    frames: UInt8Array
    """uint8 [B, F, H, W, 3]"""
    actions: Float32Array
    """float32 [B, F, 25]"""


class DroppedClips(NamedTuple):
    """Numbers of clips that no window contains, each counted by the first reason that applies."""

    partial: int
    """Last clips of a shard with fewer than 17 frames."""
    crossing: int
    """Clips inside which a segment ends."""
    too_short: int
    """Clips of a run that is shorter than a window, or left over by the stride at the end of a run."""


class _Windows:
    """The first items of all windows of a data set, shard after shard, in one int64 array."""

    def __init__(self, dataset: Dataset, starts_by_shard: list[Int64Array], length: str) -> None:
        self._dataset = dataset
        self._starts: Int64Array = np.concatenate(starts_by_shard)
        self._shard_ends: Int64Array = np.cumsum([len(starts) for starts in starts_by_shard], dtype=np.int64)
        if len(self._starts) == 0:
            raise DatasetError(
                f"{dataset.directory}: expected at least one window of {length} in one segment, found none in "
                f"{dataset.num_frames} frames; ask for shorter windows or record longer segments"
            )

    def __len__(self) -> int:
        return len(self._starts)

    def locate(self, index: int) -> tuple[int, int]:
        """Returns a window's shard and its first clip (or frame, for windows of frames) in it.

        Raises:
            InvalidInputError: there is no such window.
        """
        return self._places(np.array([index], dtype=np.int64))[0]

    @property
    def starts_by_shard(self) -> list[Int64Array]:
        """The first clip (or frame, for windows of frames) of each window, shard after shard."""
        return np.split(self._starts, self._shard_ends[:-1])

    def _places(self, indices: Int64Array) -> list[tuple[int, int]]:
        if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
            raise InvalidInputError(f"expected window indices int64 [B], got {indices.dtype} {list(indices.shape)}")
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise InvalidInputError(
                f"expected window indices from 0 to {len(self) - 1}, got {indices.min()} to {indices.max()}"
            )
        shards = np.searchsorted(self._shard_ends, indices, side="right")
        return list(zip(shards.tolist(), self._starts[indices].tolist(), strict=True))

    def _gather_poses(self, indices: Int64Array, num_frames: int, unit_frames: int) -> Float32Array:
        """Copies the poses of windows of so many frames, float32 [B, F, 3], that begin at multiples of a unit."""
        self._dataset.require(ShardFile.POSES)
        places = self._places(indices)
        poses = np.empty((len(places), num_frames, POSE_DIM), dtype=np.float32)
        for row, (shard_index, start) in enumerate(places):
            of_shard = self._dataset.shards[shard_index].poses
            assert of_shard is not None, f"shard {shard_index} has no poses"
            first_frame = start * unit_frames
            poses[row] = of_shard[first_frame : first_frame + num_frames]
            if not np.isfinite(poses[row]).all():
                bad = first_frame + int(np.flatnonzero(~np.isfinite(poses[row]).all(axis=1))[0])
                raise DatasetError(
                    f"poses of shard {shard_index}, frame {bad}: got {of_shard[bad].tolist()}, expected finite "
                    "numbers; repair the file, or remove the shard"
                )
        return poses

    def _check_actions(self, actions: Float32Array, places: list[tuple[int, int]], unit_frames: int) -> None:
        """Raises an error that names the frame if an action of float32 [B, F, 25] is not finite."""
        if not np.isfinite(actions).all():
            for shard, start in places:
                first_frame = start * unit_frames
                self._dataset.shards[shard].check_states(first_frame, first_frame + actions.shape[1])


class ClipWindows(_Windows):
    """All windows of `num_clips` whole clips within a segment of a data set with tokens.

    Attributes:
        num_clips: length of a window in clips.
        dropped: clips of the data set that no window contains, by reason.
    """

    num_clips: int
    dropped: DroppedClips

    def __init__(self, dataset: Dataset, num_clips: int, stride: int = 1) -> None:
        """Indexes the windows.

        Args:
            dataset: a data set with tokens.
            num_clips: length of a window in clips.
            stride: clips from one window of an uninterrupted run to the next.

        Raises:
            InvalidInputError: `num_clips` or `stride` is below 1.
            DatasetError: the data set has no tokens, or no window fits.
        """
        _check_at_least_one(num_clips=num_clips, stride=stride)
        dataset.require(ShardFile.TOKENS)
        starts_by_shard, dropped_by_shard = [], []
        for shard in dataset.shards:
            # The states of a test sample continue after its tokens.
            segments = shard.segments[: shard.num_clips * FRAMES_PER_CLIP]
            starts = window_starts(segments, num_clips, stride)
            starts_by_shard.append(starts)
            dropped_by_shard.append(_dropped(segments, shard.num_clips, num_covered(starts, num_clips)))
        super().__init__(dataset, starts_by_shard, f"{num_clips} whole clips")
        self.num_clips = num_clips
        self.dropped = DroppedClips(*(sum(counts) for counts in zip(*dropped_by_shard, strict=True)))

    @property
    def num_dropped_clips(self) -> int:
        """Number of clips of the data set that no window contains, for any reason."""
        return sum(self.dropped)

    def gather(self, indices: Int64Array) -> ClipBatch:
        """Copies windows out of the data set.

        Args:
            indices: int64 [B], each in [0, len(self)).

        Returns:
            tokens int32 [B, T, 3, h, w] and actions float32 [B, T, 17, 25] of the T = `num_clips` clips.

        Raises:
            InvalidInputError: an index is out of range.
            DatasetError: an action is NaN or infinite.
        """
        places = self._places(indices)
        grid = self._dataset.metadata.token_grid
        tokens = np.empty((len(places), self.num_clips, LATENTS_PER_CLIP, *grid), dtype=np.int32)
        actions = np.empty((len(places), self.num_clips * FRAMES_PER_CLIP, ACTION_DIM), dtype=np.float32)
        # One contiguous copy for each window is faster than one fancy index for each shard.
        for row, (shard_index, first_clip) in enumerate(places):
            shard = self._dataset.shards[shard_index]
            assert shard.tokens is not None, f"shard {shard_index} has no tokens"
            tokens[row] = shard.tokens[first_clip : first_clip + self.num_clips]
            first_frame = first_clip * FRAMES_PER_CLIP
            actions[row] = shard.states[first_frame : first_frame + actions.shape[1]]
        self._check_actions(actions, places, FRAMES_PER_CLIP)
        return ClipBatch(tokens, actions.reshape(len(places), self.num_clips, FRAMES_PER_CLIP, ACTION_DIM))

    def gather_poses(self, indices: Int64Array) -> Float32Array:
        """Copies the base poses of windows out of the data set.

        Args:
            indices: int64 [B], each in [0, len(self)).

        Returns:
            x (m), y (m), yaw (rad) of each frame, float32 [B, T, 17, 3].

        Raises:
            InvalidInputError: an index is out of range.
            DatasetError: the data set has no poses, or one is NaN or infinite.
        """
        poses = self._gather_poses(indices, self.num_clips * FRAMES_PER_CLIP, FRAMES_PER_CLIP)
        return poses.reshape(len(indices), self.num_clips, FRAMES_PER_CLIP, POSE_DIM)


class FrameWindows(_Windows):
    """All windows of `num_frames` frames within a segment of a data set with raw images.

    Attributes:
        num_frames: length of a window in frames.
    """

    num_frames: int

    def __init__(self, dataset: Dataset, num_frames: int, stride_frames: int = 1) -> None:
        """Indexes the windows.

        Args:
            dataset: a data set with raw images.
            num_frames: length of a window in frames.
            stride_frames: frames from one window of a segment to the next.

        Raises:
            InvalidInputError: `num_frames` or `stride_frames` is below 1.
            DatasetError: the data set has no raw images, or no window fits.
        """
        _check_at_least_one(num_frames=num_frames, stride_frames=stride_frames)
        dataset.require(ShardFile.FRAMES)
        starts_by_shard = [frame_window_starts(shard.segments, num_frames, stride_frames) for shard in dataset.shards]
        super().__init__(dataset, starts_by_shard, f"{num_frames} frames")
        self.num_frames = num_frames

    def gather(self, indices: Int64Array) -> FrameBatch:
        """Copies windows out of the data set.

        Args:
            indices: int64 [B], each in [0, len(self)).

        Returns:
            frames uint8 [B, F, H, W, 3] and actions float32 [B, F, 25] of the F = `num_frames` frames.

        Raises:
            InvalidInputError: an index is out of range.
            DatasetError: an action is NaN or infinite.
        """
        places = self._places(indices)
        image_size = self._dataset.metadata.image_size
        assert image_size is not None, "a data set with raw images says how large they are"
        frames = np.empty((len(places), self.num_frames, *image_size, 3), dtype=np.uint8)
        actions = np.empty((len(places), self.num_frames, ACTION_DIM), dtype=np.float32)
        for row, (shard_index, first_frame) in enumerate(places):
            shard = self._dataset.shards[shard_index]
            assert shard.frames is not None, f"shard {shard_index} has no raw images"
            frames[row] = shard.frames[first_frame : first_frame + self.num_frames]
            actions[row] = shard.states[first_frame : first_frame + self.num_frames]
        self._check_actions(actions, places, 1)
        return FrameBatch(frames, actions)

    def gather_poses(self, indices: Int64Array) -> Float32Array:
        """Copies the base poses of windows out of the data set.

        Args:
            indices: int64 [B], each in [0, len(self)).

        Returns:
            x (m), y (m), yaw (rad) of each frame, float32 [B, F, 3].

        Raises:
            InvalidInputError: an index is out of range.
            DatasetError: the data set has no poses, or one is NaN or infinite.
        """
        return self._gather_poses(indices, self.num_frames, 1)


def evenly_spread(total: int, count: int | None) -> Int64Array:
    """Returns `count` of the indices 0 to `total` - 1, evenly spread; all of them if there are fewer or with `None`."""
    return np.linspace(0, total - 1, total if count is None else min(count, total)).astype(np.int64)


def _dropped(segments: Int32Array, num_clips: int, num_covered_clips: int) -> DroppedClips:
    whole = clip_is_whole(segments)
    num_whole = int(whole.sum())
    return DroppedClips(
        partial=num_clips - len(whole), crossing=len(whole) - num_whole, too_short=num_whole - num_covered_clips
    )


def _check_at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        checked(name, count, Count)
