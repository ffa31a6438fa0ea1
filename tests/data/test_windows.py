"""Windows and segments, compared with loops that follow the definition literally."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwm_env.data.reader import Dataset
from hwm_env.data.segments import clip_is_whole, frame_window_starts, window_starts
from hwm_env.data.windows import ClipWindows, DroppedClips, FrameWindows, evenly_spread
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from tests.data.conftest import WRITTEN_LAYOUTS


@st.composite
def segment_arrays(draw: st.DrawFn) -> np.ndarray:
    """Draws runs of any length, so that boundaries are inside clips and on their edges; ids may repeat later."""
    runs = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5 * 17)), min_size=1, max_size=6))
    if draw(st.booleans()):
        runs = [(segment, -(-length // 17) * 17) for segment, length in runs]
    tail = draw(st.integers(0, 20))
    return np.concatenate([np.full(length, segment) for segment, length in [*runs, (0, tail)]]).astype(np.int32)


def naive_starts(segments: np.ndarray, length: int, stride: int, unit: int) -> list[int]:
    """Returns the starts, in units of `unit` frames, of windows without a change of segment inside."""
    starts: list[int] = []
    since_run = 0
    for start in range(len(segments) // unit):

        def is_one_segment(first: int, items: int) -> bool:
            frames = segments[first * unit : (first + items) * unit].tolist()
            return first >= 0 and len(frames) == items * unit and len(set(frames)) == 1

        # A run of items begins if this item does not continue the one before.
        since_run = since_run + 1 if is_one_segment(start - 1, 2) else 0
        if is_one_segment(start, length) and since_run % stride == 0:
            starts.append(start)
    return starts


def naive_reason(segments_of_clip: list[int]) -> str:
    """Returns why no window contains a clip."""
    if len(segments_of_clip) < 17:
        return "partial"
    return "too_short" if len(set(segments_of_clip)) == 1 else "crossing"


@given(segments=segment_arrays(), num_clips=st.integers(1, 5), stride=st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_clip_windows_never_cross_a_segment(segments: np.ndarray, num_clips: int, stride: int) -> None:
    starts = window_starts(segments, num_clips, stride)
    assert starts.dtype == np.int64
    assert starts.tolist() == naive_starts(segments, num_clips, stride, unit=17)


@given(segments=segment_arrays())
def test_whole_clips(segments: np.ndarray) -> None:
    expected = [len(set(segments[17 * clip : 17 * clip + 17].tolist())) == 1 for clip in range(len(segments) // 17)]
    assert clip_is_whole(segments).tolist() == expected


@given(segments=segment_arrays(), num_frames=st.integers(1, 40), stride=st.integers(1, 20))
@settings(deadline=None)
def test_frame_windows_never_cross_a_segment(segments: np.ndarray, num_frames: int, stride: int) -> None:
    starts = frame_window_starts(segments, num_frames, stride)
    assert starts.tolist() == naive_starts(segments, num_frames, stride, unit=1)


@given(
    segments_by_shard=st.lists(segment_arrays(), min_size=1, max_size=3),
    num_clips=st.integers(1, 4),
    stride=st.integers(1, 3),
    layout=st.sampled_from(WRITTEN_LAYOUTS),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_gathered_clips_are_those_of_the_shards(
    write_dataset, segments_by_shard, num_clips, stride, layout, data
) -> None:
    dataset, shards = write_dataset(*segments_by_shard, layout=layout)
    expected = [
        (index, start)
        for index, segments in enumerate(segments_by_shard)
        for start in naive_starts(segments, num_clips, stride, unit=17)
    ]
    if not expected:
        with pytest.raises(DatasetError, match=f"window of {num_clips} whole clips"):
            ClipWindows(dataset, num_clips, stride)
        return
    windows = ClipWindows(dataset, num_clips, stride)
    assert [windows.locate(index) for index in range(len(windows))] == expected

    covered = {(shard, clip) for shard, start in expected for clip in range(start, start + num_clips)}
    reasons = [
        naive_reason(segments[17 * clip : 17 * clip + 17].tolist())
        for index, segments in enumerate(segments_by_shard)
        for clip in range(len(shards[index]["tokens"]))
        if (index, clip) not in covered
    ]
    assert windows.dropped._asdict() == {name: reasons.count(name) for name in DroppedClips._fields}
    assert windows.num_dropped_clips == len(reasons)

    indices = np.array(data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=5)), dtype=np.int64)
    tokens, actions = windows.gather(indices)
    assert tokens.shape == (len(indices), num_clips, 3, 2, 3)
    assert actions.shape == (len(indices), num_clips, 17, 25)
    for row, index in enumerate(indices):
        shard, start = expected[index]
        for clip in range(num_clips):
            np.testing.assert_array_equal(tokens[row, clip], shards[shard]["tokens"][start + clip])
            for frame in range(17):
                state = shards[shard]["states"][(start + clip) * 17 + frame]
                np.testing.assert_array_equal(actions[row, clip, frame], state)


def test_gathered_frames_are_those_of_the_shards(write_dataset) -> None:
    dataset, shards = write_dataset([0] * 30 + [1] * 25, [0] * 10, [0] * 18)
    windows = FrameWindows(dataset, 17, stride_frames=5)
    places = [(0, 0), (0, 5), (0, 10), (0, 30), (0, 35), (2, 0)]
    assert [windows.locate(index) for index in range(len(windows))] == places
    frames, actions = windows.gather(np.array([5, 1, 3]))
    assert frames.dtype == np.uint8
    for row, (shard, start) in enumerate([places[5], places[1], places[3]]):
        np.testing.assert_array_equal(frames[row], shards[shard]["frames"][start : start + 17])
        np.testing.assert_array_equal(actions[row], shards[shard]["states"][start : start + 17])


@pytest.mark.parametrize("indices", [[-1], [0, 24], [10**12]])
def test_indices_out_of_range(write_dataset, indices: list[int]) -> None:
    dataset, _ = write_dataset([0] * 17 * 24)
    windows = ClipWindows(dataset, 1)
    assert len(windows) == 24
    with pytest.raises(InvalidInputError, match="from 0 to 23"):
        windows.gather(np.array(indices))
    with pytest.raises(InvalidInputError, match="from 0 to 23"):
        windows.locate(indices[-1])


@pytest.mark.parametrize("indices", [np.array(3), np.array([[3]]), np.array([0.5])])
def test_indices_of_the_wrong_kind(write_dataset, indices: np.ndarray) -> None:
    dataset, _ = write_dataset([0] * 17 * 24)
    with pytest.raises(InvalidInputError, match=r"int64 \[B\]"):
        ClipWindows(dataset, 1).gather(indices)


def test_windows_that_cannot_be(write_dataset, tmp_path) -> None:
    dataset, _ = write_dataset([0] * 40, [1] * 40)
    for length, stride in [(0, 1), (-3, 1), (1, 0)]:
        with pytest.raises(InvalidInputError, match="must be at least 1"):
            ClipWindows(dataset, length, stride)
        with pytest.raises(InvalidInputError, match="must be at least 1"):
            FrameWindows(dataset, length, stride)
    with pytest.raises(DatasetError, match="3 whole clips in one segment, found none in 80 frames"):
        ClipWindows(dataset, 3)
    with pytest.raises(DatasetError, match="41 frames in one segment"):
        FrameWindows(dataset, 41)

    writer = DatasetWriter(tmp_path)
    writer.write_shard(0, states=np.zeros((40, 25), np.float32), segments=np.zeros(40, np.int32))
    writer.finish()
    with pytest.raises(DatasetError, match=r"no tokens.*hwm-env tokenize"):
        ClipWindows(Dataset(tmp_path), 1)
    with pytest.raises(DatasetError, match=r"no raw images.*hwm-env collect"):
        FrameWindows(Dataset(tmp_path), 1)


def test_reasons_to_drop_a_clip(write_dataset) -> None:
    # A run of three clips; one with a boundary inside; a run of two clips, one of a single clip, and five frames.
    dataset, _ = write_dataset([0] * 17 * 3 + [0] * 5 + [1] * (12 + 17 * 2) + [2] * (17 + 5))
    assert ClipWindows(dataset, 3).dropped == DroppedClips(partial=1, crossing=1, too_short=3)
    assert ClipWindows(dataset, 2).dropped == DroppedClips(partial=1, crossing=1, too_short=1)
    # With a stride, the third clip of the first run is left over.
    assert ClipWindows(dataset, 2, stride=2).dropped == DroppedClips(partial=1, crossing=1, too_short=2)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_not_served(write_dataset, number: float) -> None:
    dataset, _ = write_dataset([0] * 17 * 4, [0] * 17 * 4)
    path = dataset.directory / "robot_states" / "states_1.bin"
    states = np.fromfile(path, np.float32).reshape(-1, 25)
    states[17 * 2 + 3, 20] = number
    states.tofile(path)
    dataset = Dataset(dataset.directory)
    message = rf"shard 1, frame 37: neck_pitch is {number}, expected a finite number; repair {path}"

    clips = ClipWindows(dataset, 2)
    clips.gather(np.array([0, 1, 2, 3]))
    for index in (4, 5):
        with pytest.raises(DatasetError, match=message):
            clips.gather(np.array([0, index]))

    frames = FrameWindows(dataset, 10, stride_frames=10)
    frames.gather(np.array([0, 8]))
    with pytest.raises(DatasetError, match=message):
        frames.gather(np.array([0, 9]))


def test_chosen_indices_are_spread_evenly_over_all() -> None:
    np.testing.assert_array_equal(evenly_spread(5, None), np.arange(5))
    np.testing.assert_array_equal(evenly_spread(5, 9), np.arange(5))
    np.testing.assert_array_equal(evenly_spread(101, 5), [0, 25, 50, 75, 100])
