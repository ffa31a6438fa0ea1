"""Cameras of LeRobot data sets in their tables become the same data as cameras in videos."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwm_env.data.pictures import middle_square
from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import StateMapping
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from hwm_env.tokenizers import recordings
from hwm_env.tokenizers.lerobot_source import lerobot_source
from hwm_env.tokenizers.recordings import tokenize_recordings
from hwm_env.tokenizers.sources import Job, Recording, Source
from hwm_env.tokenizers.tiny import TinyTokenizer
from tests.data.lerobot_files import HEAD, WRIST, Episode, counting, table_picture, write_lerobot

pytest.importorskip("av")
pytest.importorskip("PIL")
parquet = pytest.importorskip("pyarrow.parquet")

LENGTHS = (40, 34, 51)
SIZE = (16, 24)
VERSIONS = pytest.mark.parametrize("version", ["v2.1", "v3.0"])
TABLE = "data/chunk-000/file-000.parquet"


def opened(directory: Path, mapping: StateMapping | None = None, **options: Any) -> Source:
    return lerobot_source(directory, options.pop("offsets", (0,)), mapping or StateMapping(), None, **options)


def read_all(directory: Path, mapping: StateMapping | None = None, **options: Any) -> list[Recording]:
    return [job.read() for job in opened(directory, mapping, **options).jobs]


def rows_shown(recording: Recording) -> list[int]:
    """Returns the row of each frame of a camera whose greys are four times the rows."""
    return [round(frame[0, 0, 0] / 4) for frame in recording.frames]


def numbered(lengths: tuple[int, ...], fps: int) -> list[Episode]:
    """Episodes whose greys are four times the rows."""
    episodes = counting(lengths, fps)
    for episode in episodes:
        episode.greys[:] = 4 * np.arange(len(episode.greys))
    return episodes


def edit_table(path: Path, keep: Callable[[int], bool]) -> None:
    """Removes rows of a table."""
    content = parquet.read_table(path)
    parquet.write_table(content.take([row for row in range(content.num_rows) if keep(row)]), path)


@VERSIONS
@pytest.mark.parametrize("kind", ["PNG", "path"])
def test_every_episode_is_a_segment_with_its_own_rows_and_pictures(version: str, kind: str, tmp_path: Path) -> None:
    episodes = counting(LENGTHS)
    directory = write_lerobot(tmp_path / "data", version, episodes, cameras=(), pictures={HEAD: kind}, size=SIZE)
    source = opened(directory, offsets=(0, 3))
    assert source.image_size == SIZE
    assert source.extra["camera"] == HEAD
    for job, index in zip(source.jobs, [0, 1, 2, 0, 1, 2], strict=True):
        recording, begin = job.read(), 3 * (job is not source.jobs[index])
        expected = [table_picture(int(grey), SIZE) for grey in episodes[index].greys[begin:]]
        np.testing.assert_array_equal(list(recording.frames), expected)
        np.testing.assert_allclose(recording.states[:, 0], episodes[index].states[begin:, 0], atol=1e-5)
        assert set(recording.segments.tolist()) == {index}
    ((first, *_), *_) = (list(job.read().frames) for job in lerobot_source(directory, (0,), StateMapping(), 8).jobs)
    np.testing.assert_array_equal(first, middle_square(table_picture(20, SIZE), 8))


@pytest.mark.slow
@pytest.mark.parametrize(("version", "fps"), [("v2.1", 10), ("v3.0", 10), ("v3.0", 24), ("v3.0", 50)])
def test_a_camera_in_tables_shows_the_same_rows_as_one_in_a_video(version: str, fps: int, tmp_path: Path) -> None:
    """Both cameras are in one data set, and are chosen by name."""
    episodes = numbered((45, 50), fps)
    directory = write_lerobot(tmp_path / "data", version, episodes, fps=fps, pictures={WRIST: "PNG"}, size=SIZE)
    for filmed, pictured in zip(read_all(directory, camera="head"), read_all(directory, camera="wrist"), strict=True):
        shown = rows_shown(pictured)
        assert shown == rows_shown(filmed)
        np.testing.assert_allclose(pictured.states, filmed.states, atol=1e-6)
        times_s = np.arange(len(shown)) / 30
        np.testing.assert_array_equal(shown, np.ceil(times_s * fps - 0.5 - 1e-3 * fps))


def test_pictures_stay_with_their_rows_where_rows_are_missing(tmp_path: Path) -> None:
    """Rows 20 to 39 were removed, and the metadata were corrected."""
    episodes = numbered((60,), 30)
    directory = write_lerobot(tmp_path / "data", "v2.1", episodes, cameras=(), pictures={HEAD: "PNG"}, size=SIZE)
    edit_table(directory / "data/chunk-000/episode_000000.parquet", lambda row: not 20 <= row < 40)
    (directory / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length": 40}\n')
    source = opened(directory)
    (job,) = source.jobs
    recording = job.read()
    assert rows_shown(recording) == [*range(20), *[19] * 10, *[40] * 10, *range(40, 60)]
    np.testing.assert_allclose(recording.states[:, 0], np.arange(60) / 30, atol=1e-5)
    assert source.extra["recording_notes"] == {"episode_000000": {"held_pictures": 20, "interpolated_states": 20}}


def test_a_rate_in_the_mapping_also_times_the_pictures(tmp_path: Path) -> None:
    directory = write_lerobot(
        tmp_path / "data", "v3.0", numbered((50,), 30), cameras=(), pictures={HEAD: "PNG"}, size=SIZE
    )
    (recording,) = read_all(directory, StateMapping(hz=25.0))
    assert len(recording.states) == int(49 / 25 * 30) + 1
    rows = recording.states[:, 0] * 30
    assert np.abs(rows - rows_shown(recording)).max() <= 0.5 + 1e-3 * 25 + 1e-4


@pytest.mark.parametrize("names", [["channels", "height", "width"], None])
def test_the_channels_may_come_first_in_the_shape(names: list[str] | None, tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", "v3.0", counting((20,)), cameras=(), pictures={HEAD: "JPEG"})
    edit_feature(directory, shape=[3, *SIZE], names=names)
    assert opened(directory).image_size == SIZE


def edit_feature(directory: Path, **fields: object) -> None:
    path = directory / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"][HEAD] |= fields
    path.write_text(json.dumps(info))


BAD_DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "another size": (
        lambda data: edit_feature(data, shape=[24, 16, 3]),
        r"file-000\.parquet \(episode_index 0\): row 0, column .*24 x 16 pixels, as its shape .* says, got 16 x 24",
    ),
    "no size": (
        lambda data: edit_feature(data, shape=[16, 24]),
        r"info\.json: shape of '.*head' must be .* \[16, 24\]",
    ),
    "no column": (
        lambda data: parquet.write_table(parquet.read_table(data / TABLE).drop_columns([HEAD]), data / TABLE),
        r"file-000\.parquet cannot be read as a table: expected one column 'observation\.images\.head'",
    ),
    "no rows": (
        lambda data: edit_table(data / TABLE, lambda row: row != 50),
        r"file-000\.parquet: expected 34 rows whose 'episode_index' is 1, as the metadata say, found 33",
    ),
    "no episode": (
        lambda data: edit_table(data / TABLE, lambda row: row < 40),
        r"file-000\.parquet: expected 34 rows whose 'episode_index' is 1, as the metadata say, found 0",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_what_does_not_fit_is_refused_before_the_work_begins(case: str, tmp_path: Path) -> None:
    directory = write_lerobot(tmp_path / "data", "v3.0", counting(LENGTHS), cameras=(), pictures={HEAD: "PNG"})
    damage, message = BAD_DATA[case]
    damage(directory)
    with pytest.raises(DatasetError, match=message):
        opened(directory)


def test_interruptions_and_other_processes_change_nothing(
    tokenizer: TinyTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write_lerobot(tmp_path / "data", "v3.0", counting((20, 25)), cameras=(), pictures={HEAD: "PNG"})
    tokenize_recordings(directory, tmp_path / "1", lambda: tokenizer, (0, 2))
    assert [shard.num_frames for shard in Dataset(tmp_path / "1").shards] == [20, 25, 18, 23]
    make, left = recordings._make_shard, [2]

    def interrupted(writer: DatasetWriter, index: int, job: Job, *others: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        # As if it were sent to a worker.
        make(writer, index, pickle.loads(pickle.dumps(job)), *others)

    with monkeypatch.context() as patch:
        patch.setattr(recordings, "_make_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tokenize_recordings(directory, tmp_path / "2", lambda: tokenizer, (0, 2))
    tokenize_recordings(directory, tmp_path / "2", lambda: tokenizer, (0, 2))
    contents = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (tmp_path / "1", tmp_path / "2")
    ]
    assert contents[0] == contents[1]
