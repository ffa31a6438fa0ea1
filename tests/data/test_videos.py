"""Videos are written atomically and read at 30 Hz by the frames' own times."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.videos import frame_size, frame_times, read_frames, resampled, write_video
from hwm_env.errors import DatasetError, InvalidInputError

av = pytest.importorskip("av")
pytest.importorskip("PIL")

LEVEL_STEP = 6


def levels(count: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Returns frames of which frame k is uniform grey of level 6 k."""
    return np.broadcast_to((np.arange(count) * LEVEL_STEP).astype(np.uint8)[:, None, None, None], (count, *size, 3))


def write(path: Path, frames: np.ndarray, fps: int, codec: str = "libx264", times: list[int] | None = None) -> Path:
    """Writes a video with any container and codec; `times` in 1/90000 s if frames are not evenly spread."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 90_000)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def seen_levels(path: Path, chosen: np.ndarray) -> np.ndarray:
    return np.array([round(image.mean() / LEVEL_STEP) for image in read_frames(path, chosen, None)])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    y, x = np.mgrid[:32, :40]
    frames = np.stack([np.stack([(4 * x + k), (5 * y + k), 0 * x + 3 * k], -1) for k in range(20)]).astype(np.uint8)
    write_video(tmp_path / "a.mp4", frames)
    times = frame_times(tmp_path / "a.mp4")
    np.testing.assert_allclose(times, np.arange(20) / 30, atol=1e-9)
    assert frame_size(tmp_path / "a.mp4") == (32, 40)
    read = np.stack(list(read_frames(tmp_path / "a.mp4", resampled(times), None)))
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 3


def test_equal_frames_give_equal_bytes_and_nothing_else_is_left(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, levels(5))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_odd_sides_repeat_their_last_row_and_column(tmp_path: Path) -> None:
    frames = np.full((3, 33, 41, 3), 30, np.uint8)
    frames[:, -1] = frames[:, :, -1] = 200
    write_video(tmp_path / "odd.mp4", frames)
    image = next(read_frames(tmp_path / "odd.mp4", np.array([0]), None))
    assert image.shape == (34, 42, 3)
    assert np.abs(image[-1].astype(int) - 200).max() < 20
    assert np.abs(image[:, -1].astype(int) - 200).max() < 20
    assert np.abs(image[:30, :38].astype(int) - 30).max() < 20


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.float32),
    ],
)
def test_what_are_no_frames_is_refused(tmp_path: Path, frames: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match=r"expected uint8 \[N, H, W, 3\]"):
        write_video(tmp_path / "a.mp4", frames)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mov", "libx264"), ("a.avi", "libx264"), ("a.webm", "libvpx")],
)
@pytest.mark.parametrize("fps", [24, 30, 60])
def test_the_nearest_frame_in_time_is_taken(tmp_path: Path, name: str, codec: str, fps: int) -> None:
    count = 40
    path = write(tmp_path / name, levels(count), fps, codec)
    times = frame_times(path)
    np.testing.assert_allclose(times, np.arange(count) / fps, atol=1e-3)
    # In exact arithmetic: the times k / 30 up to the last frame, and of two equally near frames the earlier.
    moments = [k for k in range(1000) if k * fps <= (count - 1) * 30]
    expected = [min(range(count), key=lambda i: (abs(i * 30 - k * fps), i)) for k in moments]
    np.testing.assert_array_equal(resampled(times), expected)
    np.testing.assert_array_equal(seen_levels(path, resampled(times)), expected)


def test_frames_keep_their_own_uneven_times(tmp_path: Path) -> None:
    """A camera stalls for half a second, and its last picture is repeated."""
    times_s = np.array([0, 1, 2, 3, 18, 19, 20]) / 30
    path = write(tmp_path / "a.mp4", levels(7), 30, times=(times_s * 90_000).astype(int).tolist())
    np.testing.assert_allclose(frame_times(path), times_s, atol=1e-6)
    expected = [np.abs(times_s - k / 30 - 1e-9).argmin() for k in range(21)]
    np.testing.assert_array_equal(seen_levels(path, resampled(frame_times(path))), expected)


@pytest.mark.parametrize("seed", range(5))
def test_resampling_equals_a_search_over_all_frames(seed: int) -> None:
    times = np.cumsum(np.random.default_rng(seed).uniform(0.004, 0.2, 50))
    times -= times[0]
    expected = [np.abs(times - k / 30).argmin() for k in range(int(times[-1] * 30) + 1)]
    differing = np.flatnonzero(resampled(times) != expected)
    for k in differing:  # only ties within the error of time stamps
        nearest = np.sort(np.abs(times - k / 30))
        assert nearest[1] - nearest[0] < 2.1e-3
    assert len(differing) < 5


def test_the_middle_square_is_scaled_by_area(tmp_path: Path) -> None:
    """Stripes outside of the square are cut off, and four pixels become one by their mean."""
    frames = np.full((2, 32, 64, 3), 255, np.uint8)
    frames[:, :, 16:48] = np.linspace(40, 200, 32).astype(np.uint8)[:, None]
    path = tmp_path / "wide.mp4"
    write_video(path, frames)
    whole = next(read_frames(path, np.array([0]), None))
    image = next(read_frames(path, np.array([0]), 8))
    expected = whole[:, 16:48].reshape(8, 4, 8, 4, 3).mean((1, 3))
    assert image.shape == (8, 8, 3)
    np.testing.assert_allclose(image, expected, atol=1)


def test_wanted_frames_only(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", levels(20))
    np.testing.assert_array_equal(seen_levels(tmp_path / "a.mp4", np.array([3, 3, 7, 19])), [3, 3, 7, 19])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", levels(40), 30)
    for name, content in (("text.mp4", b"no video"), ("cut.mp4", whole.read_bytes()[:300]), ("empty.mkv", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name} cannot be read as a video"):
            frame_times(tmp_path / name)


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        container.start_encoding()
    with pytest.raises(DatasetError, match=r"none\.mkv.*found 0 frames|none\.mkv cannot be read"):
        frame_times(path)


def test_fewer_frames_than_packets_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", levels(10), 30)
    with pytest.raises(DatasetError, match=r"expected at least 13 frames.*decoded 10"):
        list(read_frames(path, np.array([2, 12]), None))
