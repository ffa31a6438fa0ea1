"""Summarises a data set: lengths, usable clips, tokens, and the ranges of its actions."""

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from hwm_env.data.format import ShardFile
from hwm_env.data.reader import Dataset, Shard
from hwm_env.data.segments import clip_is_whole, num_covered, window_starts
from hwm_env.data.windows import evenly_spread
from hwm_env.robot import EVE
from hwm_env.types import (
    ACTION_DIM,
    ANGULAR_VELOCITY,
    FRAMES_PER_CLIP,
    LINEAR_VELOCITY,
    NUM_JOINTS,
    Float32Array,
    Int32Array,
    Int64Array,
)

WINDOW_LENGTHS: Final = (1, 10)
"""In clips: a single clip, and a history of nine with the clip that follows."""
SAMPLED_CLIPS: Final = 2_000
"""Maximum number of clips whose tokens are read: 25 MB of the 8 GB of the full-size data set."""
SAMPLED_FRAMES: Final = 250_000
"""Maximum number of frames from which percentiles are computed."""

_UNITS: Final = {
    **dict.fromkeys(range(NUM_JOINTS), "rad"),
    LINEAR_VELOCITY: "m/s",
    ANGULAR_VELOCITY: "rad/s",
}
"""Units by the index of the action number; hand closures have none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentLengths:
    """Lengths of the uninterrupted stretches; one that continues in the next shard is counted in both."""

    count: int
    """Number of stretches."""
    min: int
    """Shortest length in frames."""
    median: float
    """Median length in frames."""
    max: int
    """Longest length in frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clips:
    """Numbers of clips on the 17-frame grid of each shard."""

    total: int
    """All clips, partial ones too."""
    whole: int
    """Clips of 17 frames of one segment."""
    crossing: int
    """Clips of 17 frames of several segments."""
    partial: int
    """Last clips of a shard with fewer than 17 frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """Windows of consecutive whole clips of one segment."""

    windows: int
    """Number of windows, one beginning at every possible clip."""
    dropped_clips: int
    """Number of clips that no window contains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """Statistics of the tokens of evenly spread clips."""

    grid: tuple[int, int]
    """Rows and columns of a latent's token grid."""
    tokenizer: str | None
    """Identity of the tokenizer that made the tokens; `None` if unknown."""
    lowest: int
    """Smallest token."""
    highest: int
    """Largest token."""
    distinct: int
    """Number of different tokens."""
    sampled_clips: int
    """Number of clips whose tokens were read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionRange:
    """The range of one of the robot's joints over all frames in which it is finite; `None` if it never is."""

    unit: str
    """Unit of the values; empty for hand closures, which range from 0 (open) to 1 (closed), and other robots."""
    min: float | None
    """Smallest value."""
    p01: float | None
    """1st percentile over evenly spread frames."""
    mean: float | None
    """Mean value."""
    p99: float | None
    """99th percentile over evenly spread frames."""
    max: float | None
    """Largest value."""
    largest_change: float | None
    """Largest absolute change from one frame to the next within a segment; `None` without such a pair."""
    not_finite: int
    """Number of frames in which it is NaN or infinite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """The result of `inspect`."""

    directory: str
    """Directory of the data set."""
    extra: Mapping[str, object]
    """Metadata beyond the format, such as the split."""
    hz: float
    """Frames a second."""
    shards: int
    """Number of shards."""
    frames: int
    """Number of frames in all shards together."""
    hours: float
    """Duration in hours."""
    image_size: tuple[int, int] | None
    """Height and width of the raw images in pixels; `None` without raw images."""
    poses: bool
    """Whether the true poses are known."""
    segments: SegmentLengths
    """Lengths of the uninterrupted stretches."""
    clips: Clips
    """Numbers of clips."""
    windows: Mapping[int, Windows]
    """Windows by their length in clips."""
    tokens: Tokens | None
    """Statistics of the tokens; `None` without tokens."""
    robot: str
    """Name of the robot."""
    actions: Mapping[str, ActionRange]
    """Range of each of the robot's joints by its name."""

    def to_dict(self) -> dict[str, object]:
        """Returns the inspection as a dictionary for JSON."""
        return asdict(self)


def inspect(dataset: Dataset) -> Inspection:
    """Inspects a data set, one shard at a time; the full-size one takes about half a minute and 200 MB."""
    segments = [_segments_with_clips(shard) for shard in dataset.shards]
    totals = [_num_clips(shard) for shard in dataset.shards]
    whole = [clip_is_whole(of_shard) for of_shard in segments]
    num_whole, num_listed = sum(int(w.sum()) for w in whole), sum(len(w) for w in whole)
    lengths = np.concatenate([_run_lengths(copy(shard).segments) for shard in dataset.shards])
    seconds = dataset.num_frames / dataset.metadata.hz
    return Inspection(
        directory=str(dataset.directory),
        extra=dataset.metadata.extra,
        hz=dataset.metadata.hz,
        shards=len(dataset.shards),
        frames=dataset.num_frames,
        hours=seconds / 3600,
        image_size=dataset.metadata.image_size if dataset.has(ShardFile.FRAMES) else None,
        poses=dataset.has(ShardFile.POSES),
        segments=SegmentLengths(
            count=len(lengths), min=int(lengths.min()), median=float(np.median(lengths)), max=int(lengths.max())
        ),
        clips=Clips(
            total=sum(totals),
            whole=num_whole,
            crossing=num_listed - num_whole,
            partial=sum(totals) - num_listed,
        ),
        windows={length: _windows(segments, sum(totals), length) for length in WINDOW_LENGTHS},
        tokens=_tokens(dataset) if dataset.has(ShardFile.TOKENS) else None,
        robot=dataset.metadata.robot.name,
        actions=_action_ranges(dataset),
    )


def whole_clips(dataset: Dataset) -> Int64Array:
    """Returns all whole clips of one segment: int64 [N, 2], the position of the shard and the clip in it."""
    by_shard = [np.flatnonzero(clip_is_whole(_segments_with_clips(shard))) for shard in dataset.shards]
    positions = np.repeat(np.arange(len(by_shard)), [len(clips) for clips in by_shard])
    return np.column_stack([positions, np.concatenate(by_shard)]).astype(np.int64, copy=False)


def _num_clips(shard: Shard) -> int:
    """Counts a shard's clips, the partial one too; if it has tokens, only the clips with tokens."""
    return shard.num_clips if shard.has(ShardFile.TOKENS) else -(-shard.num_frames // FRAMES_PER_CLIP)


def _segments_with_clips(shard: Shard) -> Int32Array:
    """Returns the segments of the frames that have a clip: the states of a test sample continue after its tokens."""
    # A copy, so that its mapped files are released.
    return copy(shard).segments[: _num_clips(shard) * FRAMES_PER_CLIP]


def _run_lengths(segments: Int32Array) -> Int64Array:
    ends = np.append(np.flatnonzero(np.diff(segments)) + 1, len(segments))
    return np.diff(ends, prepend=0).astype(np.int64, copy=False)


def _windows(segments: list[Int32Array], total_clips: int, num_clips: int) -> Windows:
    starts = [window_starts(of_shard, num_clips) for of_shard in segments]
    covered = sum(num_covered(of_shard, num_clips) for of_shard in starts)
    return Windows(windows=sum(len(of_shard) for of_shard in starts), dropped_clips=total_clips - covered)


def _tokens(dataset: Dataset) -> Tokens:
    num_clips = [shard.num_clips for shard in dataset.shards]
    chosen = np.unique(evenly_spread(sum(num_clips), SAMPLED_CLIPS))
    firsts = np.cumsum([0, *num_clips])
    seen = []
    for position, shard in enumerate(dataset.shards):
        of_shard = chosen[(chosen >= firsts[position]) & (chosen < firsts[position + 1])] - firsts[position]
        tokens = copy(shard).tokens
        assert tokens is not None, f"shard {shard.index} has no tokens"
        seen.append(np.unique(tokens[of_shard]))
    distinct = np.unique(np.concatenate(seen))
    return Tokens(
        grid=dataset.metadata.token_grid,
        tokenizer=dataset.metadata.tokenizer,
        lowest=int(distinct[0]),
        highest=int(distinct[-1]),
        distinct=len(distinct),
        sampled_clips=len(chosen),
    )


def _action_ranges(dataset: Dataset) -> dict[str, ActionRange]:
    low, high = np.full(ACTION_DIM, np.inf), np.full(ACTION_DIM, -np.inf)
    change = np.full(ACTION_DIM, -np.inf)
    total, count = np.zeros(ACTION_DIM), np.zeros(ACTION_DIM, np.int64)
    stride = -(-dataset.num_frames // SAMPLED_FRAMES)
    sampled: list[Float32Array] = []
    for shard in dataset.shards:
        opened = copy(shard)
        states, segments = opened.states, opened.segments
        finite = np.isfinite(states)
        count += finite.sum(axis=0)
        total += states.sum(axis=0, dtype=np.float64, where=finite)
        low = np.minimum(low, states.min(axis=0, where=finite, initial=np.inf))
        high = np.maximum(high, states.max(axis=0, where=finite, initial=-np.inf))
        steps = np.abs(np.diff(np.where(finite, states, 0), axis=0))
        joined = finite[1:] & finite[:-1] & (np.diff(segments) == 0)[:, None]
        change = np.maximum(change, steps.max(axis=0, where=joined, initial=-np.inf))
        sampled.append(np.array(states[::stride]))
    sample = np.concatenate(sampled)
    ranges = {}
    robot = dataset.metadata.robot
    for index, name in zip(robot.indices, robot.names, strict=True):
        values = sample[np.isfinite(sample[:, index]), index]
        p01, p99 = np.percentile(values, [1, 99]) if len(values) else (np.nan, np.nan)
        mean = total[index] / count[index] if count[index] else np.nan
        ranges[name] = ActionRange(
            unit=_UNITS.get(index, "") if robot == EVE else "",
            min=_known(low[index]),
            p01=_known(p01),
            mean=_known(mean),
            p99=_known(p99),
            max=_known(high[index]),
            largest_change=_known(change[index]),
            not_finite=dataset.num_frames - int(count[index]),
        )
    return ranges


def _known(value: np.floating | float) -> float | None:
    return float(value) if np.isfinite(value) else None


def describe(inspection: Inspection) -> str:
    """Formats an inspection as text: a few lines, and a Markdown table of the actions."""
    segments, clips, tokens = inspection.segments, inspection.clips, inspection.tokens
    lines = [
        f"{inspection.directory}: {inspection.shards} shards, {inspection.frames:,} frames at {inspection.hz:g} Hz, "
        f"{inspection.hours:.2f} hours",
        *(f"{key}: {value}" for key, value in inspection.extra.items()),
        f"segments: {segments.count:,}, of {segments.min:,} to {segments.max:,} frames, median {segments.median:g}",
        f"clips: {clips.total:,}, of which {clips.whole:,} whole, {clips.crossing:,} across segments, "
        f"{clips.partial:,} partial",
        *(
            f"windows of {length} clips: {windows.windows:,}; clips in none: {windows.dropped_clips:,}"
            for length, windows in inspection.windows.items()
        ),
    ]
    if tokens is not None:
        lines.append(
            f"tokens: {tokens.grid[0]} x {tokens.grid[1]} a latent, by tokenizer {tokens.tokenizer or '(unknown)'}; "
            f"{tokens.lowest:,} to {tokens.highest:,}, {tokens.distinct:,} different ones in "
            f"{tokens.sampled_clips:,} clips"
        )
    if inspection.image_size is not None:
        lines.append(f"raw images: {inspection.image_size[0]} x {inspection.image_size[1]} pixels")
    not_finite = sum(action.not_finite for action in inspection.actions.values())
    lines += [
        f"robot: {inspection.robot}",
        f"true poses: {'yes' if inspection.poses else 'no'}",
        f"states that are NaN or infinite: {not_finite:,}",
        "",
        "| action | unit | min | p01 | mean | p99 | max | largest change a frame | not finite |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, action in inspection.actions.items():
        numbers = (action.min, action.p01, action.mean, action.p99, action.max, action.largest_change)
        cells = ["-" if number is None else f"{number:.3f}" for number in numbers]
        lines.append(f"| {' | '.join([name, action.unit, *cells, str(action.not_finite)])} |")
    return "\n".join(lines)
