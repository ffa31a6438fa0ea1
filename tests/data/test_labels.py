"""Labels are visible, fit, and do not change the pictures."""

import numpy as np
import pytest

from hwm_env.data.labels import GAP, STRIP_HEIGHT, enlarged, labelled_pair, text_strip

pytest.importorskip("PIL")

LONGEST_FOOTER = "clip 88 of 88   -48.88 s   PSNR 100.0 dB (last frame repeated: 100.0 dB)"
LONGEST_LABEL = "history as the model sees it"


def ink(strip: np.ndarray) -> np.ndarray:
    """Returns the columns of a strip that contain text."""
    return np.flatnonzero((strip > 100).any(axis=(0, 2)))


def test_text_is_white_on_black_and_differs() -> None:
    strip = text_strip("ground truth", 256)
    assert strip.shape == (STRIP_HEIGHT, 256, 3)
    assert strip.dtype == np.uint8
    assert strip.max() == 255
    assert (strip == 0).mean() > 0.5
    assert (strip != text_strip("predicted", 256)).any()
    assert not text_strip("", 256).any()


@pytest.mark.parametrize(("text", "width"), [(LONGEST_FOOTER, 2 * 256 + GAP), (LONGEST_LABEL, 256)])
def test_what_we_write_fits_the_narrowest_picture(text: str, width: int) -> None:
    unlimited = text_strip(text, 2000)
    assert ink(unlimited).max() < width - 2
    assert not unlimited[[0, -1]].any()  # nor does it touch the strip's edges


@pytest.mark.parametrize(("size", "factor"), [((64, 64), 4), ((8, 16), 32), ((100, 200), 3), ((256, 256), 1)])
def test_small_pictures_grow_by_a_whole_number(size: tuple[int, int], factor: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    large = enlarged(image)
    assert large.shape == (factor * size[0], factor * size[1], 3)
    for row, column in ((0, 0), (3, 5), (size[0] - 1, size[1] - 1)):
        block = large[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        assert (block == image[row, column]).all()


def test_the_pair_keeps_the_pictures_and_their_sides() -> None:
    left, right = np.full((256, 256, 3), 10, np.uint8), np.full((256, 256, 3), 200, np.uint8)
    pair = labelled_pair(left, right, ("left", "right"), "below")
    assert pair.shape == (2 * STRIP_HEIGHT + 256, 2 * 256 + GAP, 3)
    inside = pair[STRIP_HEIGHT:-STRIP_HEIGHT]
    assert (inside[:, :256] == 10).all()
    assert (inside[:, -256:] == 200).all()
    assert (inside[:, 256:-256] == 0).all()
    assert (pair[:STRIP_HEIGHT, :256] == text_strip("left", 256)).all()
    assert (pair[:STRIP_HEIGHT, -256:] == text_strip("right", 256)).all()
    assert (pair[-STRIP_HEIGHT:] == text_strip("below", pair.shape[1])).all()
