"""Pictures are read as players show them; the expected ones are from FFmpeg's program or from the standards."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hwm_env.data.videos import frame_size, frame_times, read_frames
from hwm_env.errors import DatasetError
from tests.data.films import ffmpeg, quarters, shown_by_ffmpeg, write_film

av = pytest.importorskip("av")
pytest.importorskip("PIL")


def read(path: Path, image_size: int | None = None) -> np.ndarray:
    return np.stack(list(read_frames(path, np.arange(len(frame_times(path))), image_size))).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(
    "turn",
    ["90", "180", "270", "hflip", "vflip", "90 hflip", "90 vflip"],
)
def test_pictures_are_turned_and_mirrored(tmp_path: Path, suffix: str, turn: str) -> None:
    upright = write_film(tmp_path / "upright.mp4", quarters())
    options = [
        word
        for part in turn.split()
        for word in (["-display_rotation", part] if part.isdigit() else [f"-display_{part}"])
    ]
    path = tmp_path / f"a{suffix}"
    ffmpeg(*options, "-i", upright, "-c", "copy", path)
    size = (48, 32) if "90" in turn or "270" in turn else (32, 48)
    assert frame_size(path) == size
    assert np.abs(read(path) - shown_by_ffmpeg(path, "null", size)).max() <= 2


def test_pictures_at_an_angle_are_refused(tmp_path: Path) -> None:
    upright = write_film(tmp_path / "upright.mp4", quarters())
    ffmpeg("-display_rotation", "45", "-i", upright, "-c", "copy", tmp_path / "a.mp4")
    with pytest.raises(DatasetError, match=r"a\.mp4: .* turns by a multiple of 90 degrees, got -?45;"):
        frame_size(tmp_path / "a.mp4")


@pytest.mark.parametrize(("aspect", "width"), [("2:1", 96), ("1:2", 24), ("16:11", 70)])
@pytest.mark.parametrize("where", ["stream", "container"])
def test_pixels_become_square(tmp_path: Path, aspect: str, width: int, where: str) -> None:
    path = tmp_path / "a.mp4"
    if where == "stream":
        plain = write_film(tmp_path / "plain.mp4", quarters())
        ffmpeg("-i", plain, "-vf", f"setsar={aspect.replace(':', '/')}", "-crf", "1", path)
    else:
        plain = write_film(tmp_path / "plain.mp4", quarters())
        numerator, denominator = map(int, aspect.split(":"))
        ffmpeg("-i", plain, "-c", "copy", "-aspect", f"{48 * numerator}:{32 * denominator}", path)
    assert frame_size(path) == (32, width)
    expected = shown_by_ffmpeg(path, f"scale={width}:ih:flags=bilinear", (32, width))
    # Everywhere except at the edges of the quarters, which differ between filters.
    assert np.quantile(np.abs(read(path) - expected), 0.8) <= 4
    # The middle square of the picture as shown, not as stored.
    side = min(32, width)
    square = shown_by_ffmpeg(path, f"scale={width}:ih,crop={side}:{side},scale=8:8:flags=area", (8, 8))
    assert np.abs(read(path, 8) - square).mean() < 8


def test_pixels_become_square_before_the_picture_is_turned(tmp_path: Path) -> None:
    plain = write_film(tmp_path / "plain.mp4", quarters())
    ffmpeg("-i", plain, "-vf", "setsar=2/1", "-crf", "1", tmp_path / "wide.mp4")
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "wide.mp4", "-c", "copy", tmp_path / "a.mp4")
    assert frame_size(tmp_path / "a.mp4") == (96, 32)


MATRICES = {"bt709": (1, 0.2126, 0.0722), "smpte170m": (6, 0.299, 0.114), "bt2020": (9, 0.2627, 0.0593)}
COLOURS = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [220, 220, 220], [16, 16, 16], [150, 90, 40]])


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_follow_matrix_and_range(tmp_path: Path, matrix: str, full_range: bool) -> None:
    """The stored values are computed by the formulas of ITU-R BT.601, BT.709 and BT.2020, and read by hwm_env."""
    code, red, blue = MATRICES[matrix]
    r, g, b = COLOURS.T / 255
    y = red * r + (1 - red - blue) * g + blue * b
    parts = np.stack([y, (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)])
    scales, shifts = ([255, 255, 255], [0, 128, 128]) if full_range else ([219, 224, 224], [16, 128, 128])
    stored = np.round(parts * np.array(scales)[:, None] + np.array(shifts)[:, None]).astype(np.uint8)
    # Columns of 8 pixels, each of one colour.
    planes = np.repeat(np.repeat(stored, 8, axis=1)[:, None], 16, axis=1)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 8 * len(COLOURS), 16, "yuv444p"
        stream.codec_context.colorspace = code
        stream.codec_context.color_range = 2 if full_range else 1
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv444p")
        frame.colorspace, frame.color_range = code, 2 if full_range else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert np.abs(read(path)[0, 8, 4::8] - COLOURS).max() <= 3


def test_interlaced_frames_are_made_progressive(tmp_path: Path) -> None:
    """A white bar moves by 4 pixels from each field to the next."""
    bar = np.zeros((20, 48, 96, 3), np.uint8)
    for index, image in enumerate(bar):
        image[:, 4 * index : 4 * index + 8] = 235
    whole, path = write_film(tmp_path / "whole.mp4", bar, crf="1"), tmp_path / "a.mp4"
    ffmpeg("-i", whole, "-vf", "interlace,format=yuv420p", "-flags", "+ilme+ildct", "-c:v", "libx264", "-qp", "4", path)
    images = read(path)
    np.testing.assert_array_equal(images, shown_by_ffmpeg(path, "yadif=deint=interlaced", (48, 96)))
    # The lines of two times do not alternate any more.
    combs = [
        np.abs(np.diff(images[:, 4:-4], axis=1)).mean() for images in (images, shown_by_ffmpeg(path, "null", (48, 96)))
    ]
    assert combs[0] < 0.2 * combs[1]
    # Progressive frames are unchanged.
    np.testing.assert_array_equal(read(whole), shown_by_ffmpeg(whole, "null", (48, 96)))


def test_the_picture_on_the_cover_is_not_the_video(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", quarters(count=5))
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=128x128", "-frames:v", "1", tmp_path / "cover.png")
    inputs = ("-i", tmp_path / "cover.png", "-i", film)
    path = tmp_path / "a.mp4"
    ffmpeg(*inputs, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic", path)
    assert read(path).shape == (5, 32, 48, 3)


def test_pictures_that_change_their_size_need_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        encoders = []
        for height, width in ((32, 48), (64, 64)):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.height, encoder.width, encoder.pix_fmt, encoder.framerate = height, width, "yuvj420p", 30
            encoder.time_base = Fraction(1, 30)
            encoders.append(encoder)
        stream = container.add_stream("mjpeg", rate=30)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuvj420p"
        for index in range(4):
            encoder = encoders[index // 2]
            image = quarters(encoder.height, encoder.width, 1)[0]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")
            frame.pts = index
            for packet in encoder.encode(frame):
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 30)
                container.mux(packet)
    with pytest.raises(DatasetError, match=r"a\.mkv: its size changes from 32 x 48 to 64 x 64"):
        read(path)
    assert read(path, 8).shape == (4, 8, 8, 3)


def test_absurd_sizes_are_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    """A picture of 30,000 x 30,000 pixels takes 2.7 GB; the file has 200 bytes."""
    path = write_film(tmp_path / "a.mov", quarters(16, 16, 1), "png")
    content = bytearray(path.read_bytes())
    place = content.index(b"IHDR") + 4
    content[place : place + 8] = (30_000).to_bytes(4, "big") * 2
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.mov: expected .*"):
        read(path)


def test_absurd_pixel_aspects_are_refused(tmp_path: Path) -> None:
    plain = write_film(tmp_path / "plain.mp4", quarters(512, 512, 1))
    ffmpeg("-i", plain, "-c", "copy", "-aspect", "255:1", tmp_path / "a.mkv")
    with pytest.raises(DatasetError, match=r"a\.mkv: expected pictures of at most \d+ pixels, got one of 130560 x 512"):
        read(tmp_path / "a.mkv")
