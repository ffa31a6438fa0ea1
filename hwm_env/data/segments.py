"""Finds runs of clips and frames of a shard that belong to one segment."""

import numpy as np

from hwm_env.types import FRAMES_PER_CLIP, BoolArray, Int32Array, Int64Array


def clip_is_whole(segments: Int32Array) -> BoolArray:
    """Returns which clips of a shard are whole, that is, within one segment.

    Args:
        segments: int32 [N], the segment of each frame.

    Returns:
        bool [N // 17]: whether all 17 frames of a clip on the shard's 17-frame grid are in one segment. The clip of
        the remaining N % 17 frames is never whole and not included.
    """
    by_clip = _by_clip(segments)
    whole: BoolArray = (by_clip == by_clip[:, :1]).all(axis=1)
    return whole


def window_starts(segments: Int32Array, num_clips: int, stride: int = 1) -> Int64Array:
    """Returns the first clip of every run of `num_clips` whole clips of one segment.

    Args:
        segments: int32 [N], the segment of each frame.
        num_clips: length of a window in clips.
        stride: clips from one window of an uninterrupted run to the next.

    Returns:
        int64 [M], ascending.
    """
    whole = clip_is_whole(segments)
    of_clip = _by_clip(segments)[:, 0]
    joins_previous = np.zeros_like(whole)
    joins_previous[1:] = whole[1:] & whole[:-1] & (of_clip[1:] == of_clip[:-1])
    return _starts_in_runs(joins_previous, whole, num_clips, stride)


def frame_window_starts(segments: Int32Array, num_frames: int, stride: int = 1) -> Int64Array:
    """Returns the first frame of every run of `num_frames` frames of one segment.

    Args:
        segments: int32 [N], the segment of each frame.
        num_frames: length of a window in frames.
        stride: frames from one window of a segment to the next.

    Returns:
        int64 [M], ascending.
    """
    joins_previous = np.zeros(len(segments), dtype=np.bool_)
    joins_previous[1:] = segments[1:] == segments[:-1]
    return _starts_in_runs(joins_previous, np.ones_like(joins_previous), num_frames, stride)


def num_covered(starts: Int64Array, length: int) -> int:
    """Counts the items in at least one of the windows of `length` items that begin at `starts` (ascending)."""
    return int(np.minimum(np.diff(starts), length).sum()) + (length if len(starts) else 0)


def _by_clip(segments: Int32Array) -> Int32Array:
    num_clips = len(segments) // FRAMES_PER_CLIP
    return segments[: num_clips * FRAMES_PER_CLIP].reshape(num_clips, FRAMES_PER_CLIP)


def _starts_in_runs(joins_previous: BoolArray, usable: BoolArray, length: int, stride: int) -> Int64Array:
    """Returns the starts of windows that stay within a run of items; an unusable item must be its own run."""
    index = np.arange(len(joins_previous), dtype=np.int64)
    place_in_run = index - np.maximum.accumulate(np.where(joins_previous, 0, index))
    # For each possible last item of a window, the place of its first item in the run; negative if the run begins later.
    first_place = place_in_run[length - 1 :] - (length - 1)
    fits = (first_place >= 0) & (first_place % stride == 0) & usable[length - 1 :]
    return np.flatnonzero(fits).astype(np.int64, copy=False)
