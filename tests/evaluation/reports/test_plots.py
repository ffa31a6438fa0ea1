from pathlib import Path

import pytest

from hwm_env.evaluation.reports.plots import write_loops

CLOSED = {"psnr": [20.0, 18.0, 17.0], "psnr_repeat_last_frame": [15.0, 12.0, 11.0]}
CLOSED["psnr_tokenizer_ceiling"] = [29.0, 29.0, 29.0]


@pytest.mark.parametrize("has_long", [False, True])
def test_loops_are_drawn_to_a_file(tmp_path: Path, has_long: bool) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    by_step = {"1": 20.0, "100": 15.0}
    names = ("psnr", "psnr_worst", "psnr_repeat_last_frame", "psnr_tokenizer_ceiling")
    write_loops(CLOSED, dict.fromkeys(names, by_step) if has_long else None, tmp_path / "new" / "plot.png")
    with image.open(tmp_path / "new" / "plot.png") as picture:
        width, height = picture.size
    assert width / height == pytest.approx((2 if has_long else 1) * 4.6 / 3.2, rel=0.01)
