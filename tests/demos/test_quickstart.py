"""The quickstart without a reference world, which the recorded truth replaces."""

from pathlib import Path

import av
import imageio.v3 as imageio
import numpy as np
import pytest

from demos import quickstart
from hwm_env.errors import HWMError
from policies.tour import TOUR

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("out")
    play = quickstart.play

    def without_reference(env_id: str) -> quickstart.QuickstartEpisode:
        if env_id == "HWMReference-v0":
            raise HWMError("no OpenGL here")
        return play(env_id)

    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quickstart, "play", without_reference)
        patch.setattr("sys.argv", ["quickstart", "--out", str(out)])
        patch.setattr("builtins.print", lambda *words: lines.append(" ".join(map(str, words))))
        quickstart.main()
    return "\n".join(lines), out


def test_it_says_that_the_truth_is_recorded_and_why(printed: tuple[str, Path]) -> None:
    assert "no OpenGL here" in printed[0]
    assert "recorded ground truth is played instead" in printed[0]


def test_the_table_has_a_line_for_each_step(printed: tuple[str, Path]) -> None:
    for step, (name, _) in enumerate(TOUR, start=1):
        assert f"{step:>4}  {name}" in printed[0]
    assert "times real time" in printed[0]


def test_the_video_has_every_frame_of_both_worlds(printed: tuple[str, Path]) -> None:
    with av.open(str(printed[1] / "quickstart.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 17 * len(TOUR)
    left, right = np.split(frames[-1][22:].astype(int), 2, axis=1)
    assert np.abs(left - right).mean() > 1  # two worlds, not one twice


def test_the_contact_sheet_shows_start_and_steps(printed: tuple[str, Path]) -> None:
    sheet = imageio.imread(printed[1] / "quickstart.png")
    assert sheet.shape == (2 * (160 + 22), (1 + len(TOUR)) * 160, 3)
    truth, learned = sheet[22:182, :160].astype(int), sheet[204:364, :160].astype(int)
    assert np.abs(truth - learned).mean() < 20  # both worlds begin at the same place


def test_the_recorded_truth_begins_where_the_learned_world_begins() -> None:
    with np.load(quickstart.RECORDED_TRUTH, allow_pickle=False) as recorded:
        learned = quickstart.play("HWM-v0")
        error = recorded["first_frame"].astype(int) - learned.first_frame
        assert recorded["clips"].shape == learned.clips.shape
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 20  # the tokenizer's own loss, not another place
