"""The frames that a damaged video still has are read at their own times; missing ones are counted and logged."""

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.videos import Damage, FrameTimes, frame_times, read_frames, timeline
from hwm_env.errors import DatasetError
from tests.data.films import write_film

av = pytest.importorskip("av")

COUNT, STEP = 40, 6


@pytest.fixture
def levels() -> np.ndarray:
    """Returns frames of which frame k is grey of level 6 k, with noise, so that each takes more than a few bytes."""
    noise = np.random.default_rng(0).integers(0, 12, (COUNT, 48, 64, 1))
    grey = STEP * np.arange(COUNT)[:, None, None, None] + noise
    return np.repeat(np.minimum(grey, 255), 3, axis=3).astype(np.uint8)


def seen(path: Path, damage: Damage | None = None) -> np.ndarray:
    """Returns the index of the frame that each picture shows."""
    chosen = timeline(path).chosen
    return np.array([round((image.mean() - 5.5) / STEP) for image in read_frames(path, chosen, None, damage)])


def packets_of(path: Path) -> list[tuple[int, int]]:
    """Returns the positions of the frames in a file, and their sizes in bytes."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mjpeg")])
def test_a_whole_video_is_whole(tmp_path: Path, levels: np.ndarray, name: str, codec: str) -> None:
    path, damage = write_film(tmp_path / name, levels, codec), Damage()
    times = timeline(path)
    assert (times.breaks_off, times.num_held) == (False, 0)
    np.testing.assert_array_equal(seen(path, damage), np.arange(COUNT))
    assert damage.num_frames == 0


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"movflags": "+faststart"}),
        ("a.mov", "libx264", {"movflags": "+faststart"}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx", {}),
        ("a.avi", "mjpeg", {}),
    ],
)
def test_a_video_that_ends_early_says_so(
    tmp_path: Path, levels: np.ndarray, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_film(tmp_path / name, levels, codec, **options)
    position, size = packets_of(path)[25]
    path.write_bytes(path.read_bytes()[: position + size // 2])
    times = timeline(path)
    assert times.breaks_off
    assert abs(times.duration_s - COUNT / 30) < 0.04
    frames = seen(path)
    assert 10 <= len(frames) <= 27
    np.testing.assert_array_equal(frames[:-4], np.arange(len(frames) - 4))


def test_a_fragment_that_is_cut_off_is_noticed(tmp_path: Path, levels: np.ndarray) -> None:
    """The header of such a file contains no duration, but the size of its last part."""
    path = write_film(tmp_path / "a.mp4", levels, movflags="frag_keyframe+empty_moov", g="10")
    position, size = packets_of(path)[25]
    path.write_bytes(path.read_bytes()[: position + size // 2])
    try:
        assert timeline(path).breaks_off
    except DatasetError as error:
        assert "cannot be read as a video" in str(error)  # noqa: PT017


def test_frames_that_cannot_be_decoded_are_held_and_counted(
    tmp_path: Path, levels: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """Every frame is a key frame, so that only the overwritten ones are lost: 20, 21 and, later, 30."""
    path, damage = write_film(tmp_path / "a.mp4", levels, g="1"), Damage()
    content = bytearray(path.read_bytes())
    for lost in (20, 21, 30):
        position, size = packets_of(path)[lost]
        content[position : position + size] = bytes(size)
    path.write_bytes(content)
    expected = np.arange(COUNT)
    expected[[20, 21, 30]] = 19, 19, 29
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(seen(path, damage), expected)
    assert damage.num_frames == 3
    assert "a.mp4 is damaged: 3 of 40 frames cannot be decoded" in caplog.text
    # Frames that are not requested are not counted.
    damage = Damage()
    list(read_frames(path, np.arange(22, 29), None, damage))
    assert damage.num_frames == 0


def test_at_the_beginning_the_first_picture_stands_for_those_that_are_lost(tmp_path: Path, levels: np.ndarray) -> None:
    path, damage = write_film(tmp_path / "a.mp4", levels, g="1"), Damage()
    content = bytearray(path.read_bytes())
    position, size = packets_of(path)[0]
    content[position : position + size] = bytes(size)
    path.write_bytes(content)
    np.testing.assert_array_equal(seen(path, damage), [1, *range(1, COUNT)])
    assert damage.num_frames == 1


def test_mostly_damaged_videos_are_refused(tmp_path: Path, levels: np.ndarray) -> None:
    path = write_film(tmp_path / "a.mp4", levels, g="1")
    content = bytearray(path.read_bytes())
    for position, size in packets_of(path)[5:35]:
        content[position : position + size] = bytes(size)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.mp4: 30 of 40 frames cannot be decoded"):
        seen(path)


def test_avi_files_with_frames_lost_in_the_middle_are_refused(tmp_path: Path, levels: np.ndarray) -> None:
    """They have no times, so that the states of the later pictures are unknown."""
    path = write_film(tmp_path / "a.avi", levels, "mjpeg")
    position, _ = packets_of(path)[20]
    content = bytearray(path.read_bytes())
    content[position - 60 : position + 60] = bytes(120)
    content = content[: content.index(b"idx1")] + b"JUNK" + content[content.index(b"idx1") + 4 :]
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.avi: \d+ of its frames are lost in the middle"):
        frame_times(path)


def with_times(path: Path, times_s: list[float]) -> Path:
    """Writes a video with a frame at each time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for time in times_s:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_absurd_durations_are_refused(tmp_path: Path) -> None:
    """Three million frames at 30 Hz out of three."""
    path = with_times(tmp_path / "a.mkv", [0, 0.033, 100_000])
    with pytest.raises(DatasetError, match=r"a\.mkv: expected at most 86400 s, got 3 frames in 100000 s"):
        timeline(path)


@pytest.mark.parametrize(
    ("times", "held"),
    [
        (np.arange(30) / 30, 0),
        (np.arange(10) / 10, 0),
        (np.arange(60) / 60, 0),
        # The times from 3 / 30 s to 17 / 30 s have no pictures of their own.
        ([0, 1 / 30, 2 / 30, 18 / 30, 19 / 30], 15),
    ],
)
def test_pictures_that_stand_still_longer_than_usual_are_counted(times: np.ndarray, held: int) -> None:
    line = FrameTimes(times_s=np.asarray(times), duration_s=float(times[-1]), breaks_off=False)
    assert line.num_held == held
