"""Inspections of data sets, compared with naive loops; and contact sheets of their clips."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data import inspection
from hwm_env.data.format import Layout
from hwm_env.data.inspection import describe, inspect, whole_clips
from hwm_env.data.labels import STRIP_HEIGHT, enlarged
from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.evaluation.reports.contact_sheet import COLUMNS, GAP, draw_contact_sheet
from hwm_env.types import ACTION_NAMES, FRAMES_PER_CLIP

GRID = (2, 3)
SEGMENTS = ([0] * 200 + [1] * 20 + [2] * 190, [2] * 30 + [3] * 17 * 11)
"""Segments of two shards, which end within clips and between them, with a partial clip at the end of each shard."""


def write(
    directory: Path,
    *,
    layout: Layout = Layout.TRAIN,
    tokens: bool = True,
    frames: bool = False,
    tokenizer: str | None = None,
) -> Dataset:
    rng = np.random.default_rng(0)
    writer = DatasetWriter(
        directory,
        layout=layout,
        token_grid=GRID if tokens else None,
        image_size=(16, 24) if frames else None,
        tokenizer=tokenizer,
        extra={"split": "train"},
    )
    for index, segments in enumerate(SEGMENTS):
        count = len(segments)
        writer.write_shard(
            index,
            states=rng.normal(size=(count, 25)).astype(np.float32),
            segments=np.array(segments, np.int32),
            tokens=rng.integers(3, 12, (-(-count // 17), 3, *GRID), dtype=np.int32) if tokens else None,
            frames=rng.integers(0, 256, (count, 16, 24, 3), dtype=np.uint8) if frames else None,
        )
    writer.finish()
    return Dataset(directory)


def write_states(dataset: Dataset, shard: int, frames: int | slice, column: int, value: float) -> Dataset:
    """Writes a number, possibly NaN or infinite, into the states of a shard on disk."""
    path = dataset.directory / f"robot_states/states_{shard}.bin"
    states = np.fromfile(path, "<f4").reshape(-1, 25)
    states[frames, column] = value
    states.tofile(path)
    return Dataset(dataset.directory)


def is_window(segments: list[int], first_clip: int, length: int) -> bool:
    frames = segments[17 * first_clip : 17 * (first_clip + length)]
    return len(frames) == 17 * length and len(set(frames)) == 1


def test_clips_windows_and_segments_are_counted(tmp_path: Path) -> None:
    found = inspect(write(tmp_path / "data"))
    clips = [-(-len(segments) // 17) for segments in SEGMENTS]
    whole = [(s, c) for s, segments in enumerate(SEGMENTS) for c in range(clips[s]) if is_window(segments, c, 1)]
    assert (found.shards, found.frames) == (2, sum(map(len, SEGMENTS)))
    assert found.hours == pytest.approx(found.frames / 30 / 3600)
    assert found.clips.total == sum(clips)
    assert found.clips.whole == len(whole)
    assert found.clips.partial == sum(len(segments) % 17 > 0 for segments in SEGMENTS)
    assert found.clips.crossing == sum(clips) - len(whole) - found.clips.partial
    for length, windows in found.windows.items():
        starts = [(s, c) for s, n in enumerate(clips) for c in range(n) if is_window(SEGMENTS[s], c, length)]
        covered = {(s, c + step) for s, c in starts for step in range(length)}
        assert windows.windows == len(starts)
        assert windows.dropped_clips == sum(clips) - len(covered)
    assert set(found.windows) == {1, 10}
    assert found.windows[10].windows > 0
    segments = found.segments
    assert (segments.count, segments.min, segments.median, segments.max) == (5, 20, 187, 200)
    assert [tuple(place) for place in whole_clips(Dataset(tmp_path / "data"))] == whole


@pytest.mark.parametrize("sampled", [inspection.SAMPLED_CLIPS, 7])
def test_tokens_are_those_of_evenly_spread_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampled: int) -> None:
    monkeypatch.setattr(inspection, "SAMPLED_CLIPS", sampled)
    dataset = write(tmp_path / "data", tokenizer="abc")
    tokens = np.concatenate([shard.tokens for shard in dataset.shards])
    chosen = tokens[np.linspace(0, len(tokens) - 1, min(sampled, len(tokens))).astype(int)]
    found = inspect(dataset).tokens
    assert found is not None
    assert (found.lowest, found.highest, found.distinct) == (chosen.min(), chosen.max(), len(np.unique(chosen)))
    assert (found.grid, found.tokenizer, found.sampled_clips) == (GRID, "abc", len(chosen))


def test_action_ranges_leave_out_what_is_not_finite_and_count_it(tmp_path: Path) -> None:
    dataset = write(tmp_path / "data")
    for shard, frame, column, value in ((0, 5, 3, np.nan), (1, 9, 3, np.inf), (1, 10, 7, -np.inf)):
        dataset = write_states(dataset, shard, frame, column, value)
    # A jump from one segment to the next is not a motion of the robot.
    dataset = write_states(dataset, 0, slice(200, 220), 5, 50)
    found = inspect(dataset).actions
    states = np.concatenate([shard.states for shard in dataset.shards]).astype(np.float64)
    segments = np.concatenate([np.array(of_shard) + 10 * s for s, of_shard in enumerate(SEGMENTS)])
    for column, name in enumerate(ACTION_NAMES):
        values = states[np.isfinite(states[:, column]), column]
        changes = [
            abs(states[i, column] - states[i - 1, column])
            for i in range(1, len(states))
            if segments[i] == segments[i - 1] and np.isfinite(states[i - 1 : i + 1, column]).all()
        ]
        action = found[name]
        assert action.not_finite == {3: 2, 7: 1}.get(column, 0)
        numbers = [action.min, action.p01, action.mean, action.p99, action.max, action.largest_change]
        expected = [values.min(), *np.percentile(values, [1]), values.mean(), *np.percentile(values, [99])]
        np.testing.assert_allclose(numbers, [*expected, values.max(), max(changes)], rtol=1e-5, atol=1e-6)
    assert found["knee_pitch"].unit == "rad"
    assert (found["left_hand_closure"].unit, found["linear_velocity"].unit) == ("", "m/s")


def test_a_number_that_is_never_finite_has_no_range(tmp_path: Path) -> None:
    dataset = write(tmp_path / "data")
    for shard in (0, 1):
        dataset = write_states(dataset, shard, slice(None), 2, np.nan)
    found = inspect(dataset)
    assert found.actions["hip_pitch"].mean is None
    assert found.actions["hip_pitch"].not_finite == found.frames
    assert f"| hip_pitch | rad | - | - | - | - | - | - | {found.frames} |" in describe(found)


def test_the_report_is_json_and_text(tmp_path: Path) -> None:
    found = inspect(write(tmp_path / "data"))
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["segments"]["count"] == 5
    text = describe(found)
    assert "split: train" in text
    assert f"clips: {found.clips.total}, of which {found.clips.whole} whole" in text
    assert all(f"| {name} |" in text for name in ACTION_NAMES)


def test_a_test_split_has_the_clips_that_have_tokens(tmp_path: Path) -> None:
    """Samples without a segment file, whose states continue after their tokens."""
    write(tmp_path / "flat", layout=Layout.FLAT)
    for index in range(2):
        (tmp_path / f"flat/segment_idx_{index}.bin").unlink()
        tokens = np.fromfile(tmp_path / f"flat/video_{index}.bin", "<i4").reshape(-1, 3, *GRID)
        tokens[:9].tofile(tmp_path / f"flat/video_{index}.bin")
    found = inspect(Dataset(tmp_path / "flat"))
    assert (found.segments.count, found.clips.total, found.clips.whole) == (2, 18, 18)
    assert found.windows[1].dropped_clips == 0
    assert found.windows[10].windows == 0


class Painter:
    """A tokenizer that decodes frame f of a clip to uniform grey of level 10 f + the clip's first token."""

    identity = token_identity = "painter"

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        levels = 10 * torch.arange(FRAMES_PER_CLIP) + tokens[:, 0, 0, 0, None]
        return levels.to(torch.uint8)[:, :, None, None, None].expand(-1, -1, 16, 24, 3)


def read_sheet(path: Path) -> np.ndarray:
    return np.asarray(pytest.importorskip("PIL.Image").open(path))


def test_a_contact_sheet_shows_raw_frames_beside_decoded_ones(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    dataset = write(tmp_path / "data", frames=True, tokenizer="painter")
    draw_contact_sheet(dataset, tmp_path / "sheet.png", Painter())  # type: ignore[arg-type]
    sheet = read_sheet(tmp_path / "sheet.png")
    height, width = enlarged(np.zeros((16, 24, 3), np.uint8)).shape[:2]
    places = whole_clips(dataset)
    places = places[np.linspace(0, len(places) - 1, 8).astype(int)]
    assert sheet.shape == (8 * (STRIP_HEIGHT + height), 2 * 5 * width + GAP, 3)
    for row, (position, clip) in enumerate(places):
        shard = dataset.shards[position]
        top = row * (STRIP_HEIGHT + height) + STRIP_HEIGHT
        assert sheet[top - STRIP_HEIGHT : top].max() == 255  # a label
        for column, frame in enumerate(COLUMNS):
            left = column * width
            raw = sheet[top : top + height, left : left + width]
            np.testing.assert_array_equal(raw, enlarged(shard.frames[17 * clip + frame]))
            decoded = sheet[top : top + height, 5 * width + GAP + left : 5 * width + GAP + left + width]
            assert (decoded == 10 * frame + shard.tokens[clip, 0, 0, 0]).all()


@pytest.mark.parametrize(("tokens", "frames"), [(True, False), (False, True)])
def test_a_contact_sheet_shows_what_there_is(tmp_path: Path, tokens: bool, frames: bool) -> None:
    pytest.importorskip("PIL")
    dataset = write(tmp_path / "data", tokens=tokens, frames=frames)
    draw_contact_sheet(dataset, tmp_path / "sheet.png", Painter())  # type: ignore[arg-type]
    width = enlarged(np.zeros((16, 24, 3), np.uint8)).shape[1]
    assert read_sheet(tmp_path / "sheet.png").shape[1] == 5 * width


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    dataset = write(tmp_path / "data", tokenizer="another")
    sheet = tmp_path / "sheet.png"
    with pytest.raises(InvalidInputError, match="no raw images to draw; give the tokenizer"):
        draw_contact_sheet(dataset, sheet)
    with pytest.raises(InvalidInputError, match="tokenizer is painter, but another made the tokens"):
        draw_contact_sheet(dataset, sheet, Painter())  # type: ignore[arg-type]
    writer = DatasetWriter(tmp_path / "short", image_size=(16, 24))
    writer.write_shard(
        0,
        states=np.zeros((16, 25), np.float32),
        segments=np.zeros(16, np.int32),
        frames=np.zeros((16, 16, 24, 3), np.uint8),
    )
    writer.finish()
    with pytest.raises(DatasetError, match="no clip to draw: no 17 frames in a row"):
        draw_contact_sheet(Dataset(tmp_path / "short"), sheet)
    assert not sheet.exists()
