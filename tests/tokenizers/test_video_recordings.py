import functools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.data.reader import Dataset
from hwm_env.data.state_tables import StateMapping
from hwm_env.data.videos import write_video
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.tokenizers import recordings
from hwm_env.tokenizers.recordings import MANIFEST, tokenize_recordings
from hwm_env.tokenizers.tiny import TinyTokenizer
from tests.data.films import write_film

VIDEO_FRAMES = (40, 34, 51)
OPTIONS = {"offsets": (0, 5), "image_size": 16}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Three videos of noise with times, and states that count frames: hip_yaw is the frame's index / 10."""
    pytest.importorskip("av")
    pytest.importorskip("PIL")
    directory, rng = tmp_path / "videos", np.random.default_rng(0)
    directory.mkdir()
    for number, count in enumerate(VIDEO_FRAMES):
        write_video(directory / f"{number}.mp4", rng.integers(0, 256, (count, 16, 24, 3), dtype=np.uint8))
        rows = "".join(f"{frame / 10},{number}\n" for frame in range(count))
        (directory / f"{number}.csv").write_text("hip_yaw,hip_roll\n" + rows)
    return directory


@pytest.fixture
def load(tokenizer: TinyTokenizer, tmp_path: Path) -> Callable[[], TinyTokenizer]:
    """Returns a tokenizer; a function that can be pickled."""
    tokenizer.save(tmp_path / "tokenizer")
    return functools.partial(TinyTokenizer.load, tmp_path / "tokenizer")


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_every_video_is_a_segment_and_every_offset_a_shard(
    videos: Path, load: Callable[[], TinyTokenizer], tmp_path: Path
) -> None:
    tokenize_recordings(videos, tmp_path / "tokens", load, **OPTIONS)
    tokens = Dataset(tmp_path / "tokens")
    assert tokens.metadata.hz == 30
    assert tokens.metadata.token_grid == (2, 2)
    assert tokens.metadata.extra["shard_sources"] == ["0.mp4", "1.mp4", "2.mp4"] * 2
    filled = tokens.metadata.extra["filled_actions"]
    assert isinstance(filled, dict)
    assert len(filled) == 23
    expected = [(offset, number) for offset in (0, 5) for number in range(3)]
    assert len(tokens.shards) == len(expected)
    for shard, (offset, number) in zip(tokens.shards, expected, strict=True):
        assert shard.num_frames == VIDEO_FRAMES[number] - offset
        assert set(shard.segments) == {number}
        # A row belongs to a frame, whose time the container rounds.
        np.testing.assert_allclose(shard.states[:, 0], np.arange(offset, VIDEO_FRAMES[number]) / 10, atol=1e-5)
        assert set(shard.states[:, 1]) == {number}
        assert not shard.states[:, 2:].any()


def test_frames_and_states_stay_together_at_other_rates(
    tokenizer: TinyTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frame i at 60 fps is grey of level 2 i, and so are 20 times the states at 100 Hz: both are 4 k at k / 30 s."""
    pytest.importorskip("av")
    seen: list[np.ndarray] = []
    encode = TinyTokenizer.encode
    monkeypatch.setattr(
        TinyTokenizer, "encode", lambda self, clips: (seen.append(clips.numpy()), encode(self, clips))[1]
    )
    (tmp_path / "videos").mkdir()
    levels = (2 * np.arange(101)).astype(np.uint8)
    frames = np.ascontiguousarray(np.broadcast_to(levels[:, None, None, None], (101, 16, 16, 3)))
    write_video(tmp_path / "videos/a.mp4", frames, fps=60)
    np.save(tmp_path / "videos/a.npy", np.repeat(6 * np.arange(168)[:, None] / 100, 25, axis=1))
    out = tmp_path / "tokens"
    tokenize_recordings(tmp_path / "videos", out, lambda: tokenizer, (0, 3), mapping=StateMapping(hz=100))
    for shard, clips, offset in zip(Dataset(out).shards, seen, (0, 3), strict=True):
        expected = 4.0 * np.arange(offset, 51)
        np.testing.assert_allclose(20 * shard.states[:, 7], expected, rtol=1e-6)
        np.testing.assert_allclose(clips.mean((2, 3, 4)).ravel()[: len(expected)], expected, atol=2)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(videos: Path, load: Callable[[], TinyTokenizer], tmp_path: Path) -> None:
    for workers in (1, 2):
        tokenize_recordings(videos, tmp_path / str(workers), load, workers=workers, **OPTIONS)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.slow
def test_a_killed_call_goes_on_without_making_finished_shards_again(
    videos: Path, load: Callable[[], TinyTokenizer], tmp_path: Path
) -> None:
    """The process is killed at its fourth shard by a signal that cannot be caught, as if out of memory."""
    script = (
        "import functools, os, signal, sys; from pathlib import Path\n"
        "from hwm_env.tokenizers import recordings; from hwm_env.tokenizers.tiny import TinyTokenizer\n"
        "make = recordings._make_shard\n"
        "def dying(writer, index, *rest):\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if index == 3 else make(writer, index, *rest)\n"
        "recordings._make_shard = dying\n"
        "source, out, tokenizer = map(Path, sys.argv[1:])\n"
        "load = functools.partial(TinyTokenizer.load, tokenizer)\n"
        "recordings.tokenize_recordings(source, out, load, (0, 5), image_size=16)"
    )
    out = tmp_path / "killed"
    command = [sys.executable, "-c", script, str(videos), str(out), str(tmp_path / "tokenizer")]
    killed = subprocess.run(command, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -9, killed.stderr
    before = {path: path.stat().st_mtime_ns for path in out.rglob("video_*.bin")}
    assert len(before) == 3
    assert (out / MANIFEST).exists()
    with pytest.raises(DatasetError, match="is not a data set"):
        Dataset(out)

    tokenize_recordings(videos, out, load, **OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    tokenize_recordings(videos, tmp_path / "at once", load, **OPTIONS)
    assert contents(out) == contents(tmp_path / "at once")


@pytest.mark.parametrize("change", ["offsets", "image_size", "mapping", "tokenizer", "files"])
def test_what_was_begun_with_other_options_is_not_gone_on_with(
    videos: Path, tokenizer: TinyTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "tokens"
    with monkeypatch.context() as patch:
        patch.setattr(recordings, "_encode", fail)
        with pytest.raises(KeyboardInterrupt):
            tokenize_recordings(videos, out, lambda: tokenizer, **OPTIONS)
    options: dict[str, object] = dict(OPTIONS)
    match change:
        case "offsets":
            options["offsets"] = (0, 6)
        case "image_size":
            options["image_size"] = 8
        case "mapping":
            options["mapping"] = StateMapping(fill={"neck_pitch": 1.0})
        case "tokenizer":
            with torch.no_grad():
                next(tokenizer.parameters()).add_(1)
        case "files":
            os.utime(videos / "1.csv", (0, 0))
    before = contents(out)
    with pytest.raises(DatasetError, match=rf"begun with other .*{change}"):
        tokenize_recordings(videos, out, lambda: tokenizer, **options)  # type: ignore[arg-type]
    assert contents(out) == before


def test_videos_shorter_than_a_clip_are_left_out(
    videos: Path, tokenizer: TinyTokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(videos / "short.mp4", np.zeros((16, 16, 24, 3), np.uint8))
    (videos / "short.csv").write_text("hip_yaw\n" + "0\n" * 16)
    with caplog.at_level(logging.WARNING):
        tokenize_recordings(videos, tmp_path / "tokens", lambda: tokenizer)
    assert "short.mp4 is left out" in caplog.text
    assert "no column contains neck_pitch: using 0" in caplog.text
    assert len(Dataset(tmp_path / "tokens").shards) == 3
    for name in ("0", "1", "2"):
        (videos / f"{name}.mp4").unlink()
    with pytest.raises(DatasetError, match="all 1 videos are shorter than a clip"):
        tokenize_recordings(videos, tmp_path / "none", lambda: tokenizer)


def test_broken_directories_are_refused_before_anything_is_written(
    videos: Path, tokenizer: TinyTokenizer, tmp_path: Path
) -> None:
    out = tmp_path / "tokens"

    def refused(message: str, source: Path = videos, **options: object) -> None:
        with pytest.raises((DatasetError, InvalidInputError), match=message):
            tokenize_recordings(source, out, lambda: tokenizer, **options)  # type: ignore[arg-type]
        assert not out.exists()

    (tmp_path / "empty").mkdir()
    refused("found neither", tmp_path / "empty")
    refused("found nothing", tmp_path / "nowhere")
    refused("workers must be at least 1", workers=0)
    refused("multiples of 8, got 20 x 20", image_size=20)
    refused("offsets: expected one or more", offsets=())
    write_video(videos / "other.mp4", np.zeros((20, 16, 24, 3), np.uint8))
    refused("other.mp4: expected its states beside it")
    (videos / "other.csv").write_text("hip_yaw\n" + "0\n" * 19 + "nan\n")
    refused(r"other\.csv: row 19, column 'hip_yaw' is nan")
    (videos / "other.csv").write_text("hip_yaw\n" + "0\n" * 20)
    (videos / "other.npy").write_bytes(b"")
    refused("found 2 of them")
    (videos / "other.npy").unlink()
    write_video(videos / "other.mp4", np.zeros((20, 32, 32, 3), np.uint8))
    refused(r"differ in size: .*32 x 32 \(other.mp4\)")


def tiny_video(path: Path, count: int = 85) -> Path:
    """Writes a video whose pictures all differ."""
    levels = (np.arange(count) * 2).astype(np.uint8)[:, None, None, None]
    write_video(path, np.ascontiguousarray(np.broadcast_to(levels, (count, 16, 16, 3))))
    return path


def table(path: Path, times: np.ndarray, per_second: int = 1) -> None:
    """Writes a table in which the neck's angle is the time in seconds."""
    path.write_text("time,neck_pitch\n" + "".join(f"{time * per_second:.6f},{time:.6f}\n" for time in times))


def test_the_manifest_keeps_what_was_not_simply_read(
    tokenizer: TinyTokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One video is whole, one is truncated, one has an overwritten frame; the tables have other faults."""
    av = pytest.importorskip("av")
    source, times = tmp_path / "videos", np.arange(85) / 30
    source.mkdir()
    tiny_video(source / "good.mp4")
    table(source / "good.csv", times)
    tiny_video(source / "milliseconds.mp4")
    table(source / "milliseconds.csv", np.concatenate([times[:30], times[60:84]]), per_second=1000)
    noise = np.random.default_rng(0).integers(0, 255, (85, 16, 16, 3), np.uint8)
    short = write_film(source / "short.mkv", noise)
    short.write_bytes(short.read_bytes()[: short.stat().st_size * 2 // 3])
    table(source / "short.csv", times)
    broken = write_film(source / "broken.mp4", noise[:60], g="1")
    with av.open(str(broken)) as container:
        position, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][20]
    content = bytearray(broken.read_bytes())
    content[position : position + size] = bytes(size)
    broken.write_bytes(content)
    table(source / "broken.csv", np.arange(78) / 30)
    with caplog.at_level(logging.WARNING):
        tokenize_recordings(source, tmp_path / "tokens", lambda: tokenizer, (0, 30))
    data = Dataset(tmp_path / "tokens")
    notes = data.metadata.extra["recording_notes"]
    assert isinstance(notes, dict)
    assert sorted(notes) == ["broken.mp4", "milliseconds.mp4", "short.mkv"]
    assert notes["milliseconds.mp4"] == {"time_unit": "ms", "interpolated_states": 30, "held_states": 1}
    assert notes["broken.mp4"] == {"unused_s": pytest.approx(17 / 30, abs=0.01)}
    assert sorted(notes["short.mkv"]) == ["missing_s"]
    # Shards 0 to 3 begin at frame 0, the others at frame 30, after the lost one.
    assert data.metadata.extra["damaged_frames"] == {"0": 1}
    for said in (
        "milliseconds.mp4: 30 of 85 states are interpolated",
        "short.mkv is truncated: ",
        "broken.mp4 is damaged: 1 of 60 frames",
        "broken.mp4: its states continue for 0.5",
    ):
        assert said in caplog.text
    assert "good.mp4" not in caplog.text


def test_videos_with_pictures_for_less_than_half_of_their_time_are_refused(
    tokenizer: TinyTokenizer, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height = stream.width = 16
        stream.pix_fmt = "yuv420p"
        for index in [*range(20), 90]:
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    table(tmp_path / "a.csv", np.arange(91) / 30)
    with pytest.raises(
        DatasetError, match=r"a\.mkv: .* 70 of 91 frames .* have none of their own \(21 pictures in 3\.0"
    ):
        tokenize_recordings(tmp_path, tmp_path / "tokens", lambda: tokenizer)


@pytest.mark.parametrize(
    ("video", "states"), [("walk.MP4", "walk.CSV"), ("walk.mp4", "walk.CSV"), ("walk.MP4", "walk.csv")]
)
def test_suffixes_may_be_in_capitals(tokenizer: TinyTokenizer, tmp_path: Path, video: str, states: str) -> None:
    source = tmp_path / "videos"
    source.mkdir()
    tiny_video(tmp_path / "walk.mp4").rename(source / video)
    table(source / states, np.arange(85) / 30)
    # macOS and other systems add their own files.
    (source / "._walk.mp4").write_bytes(b"\0\5\x16\7" + bytes(100))
    (source / "._walk.csv").write_bytes(b"\0\5\x16\7" + bytes(100))
    (source / "old.mp4").mkdir()
    tokenize_recordings(source, tmp_path / "tokens", lambda: tokenizer)
    shards = Dataset(tmp_path / "tokens").shards
    assert len(shards) == 1
    np.testing.assert_allclose(shards[0].states[:, 20], np.arange(85) / 30, atol=1e-5)


def test_two_videos_do_not_share_a_table(tokenizer: TinyTokenizer, tmp_path: Path) -> None:
    for name in ("walk.mp4", "walk.mov"):
        tiny_video(tmp_path / name)
    table(tmp_path / "walk.csv", np.arange(85) / 30)
    with pytest.raises(DatasetError, match=r"walk\.csv: expected one video beside it, found several"):
        tokenize_recordings(tmp_path, tmp_path / "tokens", lambda: tokenizer)


def test_large_pictures_are_encoded_a_few_at_a_time(
    videos: Path, tokenizer: TinyTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = TinyTokenizer.encode
    monkeypatch.setattr(TinyTokenizer, "encode", lambda self, clips: (sizes.append(len(clips)), encode(self, clips))[1])
    tokenize_recordings(videos, tmp_path / "16", lambda: tokenizer)
    monkeypatch.setattr(recordings, "MAX_BYTES", 16 * 24 * 3)
    tokenize_recordings(videos, tmp_path / "1", lambda: tokenizer)
    assert sizes == [3, 2, 3, *[1] * 8]
    assert contents(tmp_path / "16") == contents(tmp_path / "1")
