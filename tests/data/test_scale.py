"""A data set of the size of 1X's training split: 100 shards of 110,000 frames."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np

from hwm_env.data.reader import Dataset
from hwm_env.data.windows import ClipWindows
from tests.data.full_size import CLIPS_PER_SHARD, FRAMES_PER_SHARD, NUM_SHARDS, write_full_size

LENGTH = 10


def test_the_full_size(tmp_path: Path) -> None:
    states, segments = write_full_size(tmp_path)
    dataset = Dataset(tmp_path)
    windows = ClipWindows(dataset, LENGTH)

    # Computed from the segments: a segment contains the clips from the first that begins to the last that ends in it.
    edges = [0, *(np.flatnonzero(np.diff(segments)) + 1).tolist(), len(segments)]
    whole = [range(-(-first // 17), stop // 17) for first, stop in pairwise(edges)]
    starts = [clip for clips in whole for clip in range(clips.start, clips.stop - LENGTH + 1)]
    assert dataset.num_frames == 11_000_000
    assert len(windows) == NUM_SHARDS * len(starts)
    num_whole = sum(map(len, whole))
    assert windows.dropped.partial == NUM_SHARDS
    assert windows.dropped.crossing == NUM_SHARDS * (FRAMES_PER_SHARD // 17 - num_whole)
    assert windows.dropped.too_short == NUM_SHARDS * sum(len(clips) for clips in whole if len(clips) < LENGTH)
    assert windows.num_dropped_clips < NUM_SHARDS * CLIPS_PER_SHARD

    for shard in (0, 37, NUM_SHARDS - 1):
        index = shard * len(starts) + shard
        assert windows.locate(index) == (shard, starts[shard])
        # The tokens are holes in their files.
        tokens, actions = windows.gather(np.array([index]))
        np.testing.assert_array_equal(actions[0].reshape(-1, 25), states[17 * starts[shard] :][: 17 * LENGTH])
        assert not tokens.any()


def test_maps_keep_two_descriptors_a_shard(tmp_path: Path) -> None:
    """These are for states and tokens; a process often has a limit of a thousand descriptors."""
    write_full_size(tmp_path)
    dataset = Dataset(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for shard in dataset.shards:
        assert shard.states[-1].any()
        assert shard.segments[-1] > 0
        assert len(shard.tokens) == CLIPS_PER_SHARD
    assert len(os.listdir("/proc/self/fd")) <= before + 2 * NUM_SHARDS
