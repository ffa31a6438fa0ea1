"""Comparisons of worlds, against environments that are stepped by hand."""

from pathlib import Path
from typing import Any

import gymnasium
import imageio.v3 as imageio
import numpy as np
import pytest

from demos.compare_worlds import PairedEpisode, compare, main
from demos.driving.floor_plan import COLOURS
from hwm_env.data.videos import frame_times
from hwm_env.reference.rendering import can_render
from policies.tour import Tour
from tests.demos.checkpoints import save_tiny_checkpoint


@pytest.fixture
def needs_rendering() -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")


@pytest.mark.slow
def test_the_learned_world_gets_what_the_true_robot_did(needs_rendering: None, tiny_checkpoint: Path) -> None:
    comparison = compare("policies.tour:tour", None, 1, 0, 2, str(tiny_checkpoint))
    envs: list[Any] = [
        gymnasium.make(name, checkpoint=str(tiny_checkpoint), task=None, obs_mode="state").unwrapped
        for name in ("HWMReference-v0", "HWM-v0")
    ]
    true, learned = envs
    policy = Tour()
    policy.reset([0])
    observation, _ = true.reset(seed=0, options={"start": 1})
    learned.reset(seed=0, options={"start": 1})
    for step in range(2):
        observation, *_ = true.step(policy.act([observation])[0])
        learned.step(true.moment.measured)
        part = slice(17 * step, 17 * step + 17)
        np.testing.assert_array_equal(comparison.truth[part], true.clip)
        np.testing.assert_array_equal(comparison.learned[part], learned.clip)


def test_psnr_is_of_each_frame() -> None:
    first = np.full((4, 4, 3), 100, np.uint8)
    truth = np.stack([first + 10, first + 20])
    comparison = PairedEpisode(first, truth, truth + np.array([1, 2], np.uint8)[:, None, None, None], {}, None)
    np.testing.assert_allclose(comparison.psnr, 20 * np.log10(255 / np.array([1, 2])), rtol=1e-5)
    np.testing.assert_allclose(comparison.psnr_of_first, 20 * np.log10(255 / np.array([10, 20])), rtol=1e-5)


@pytest.mark.slow
def test_the_command_writes_a_film_and_a_sheet(
    needs_rendering: None, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--checkpoint", str(tiny_checkpoint), "--start", "0", "--steps", "2", "--out", str(tmp_path)]
    assert main(["--policy", "policies.experts.expert:expert", "--task", "face-target", *options]) == 0
    assert len(frame_times(tmp_path / "compare_worlds.mp4")) == 34
    assert imageio.imread(tmp_path / "compare_worlds.png").shape[1] >= 480
    assert "first frame repeated" in capsys.readouterr().out


@pytest.mark.slow
def test_a_world_that_knows_its_room_is_compared_on_a_plan(needs_rendering: None, tmp_path: Path) -> None:
    checkpoint = save_tiny_checkpoint(tmp_path / "checkpoint")
    options = ["--checkpoint", str(checkpoint), "--start", "0", "--steps", "2", "--out", str(tmp_path)]
    assert main(options) == 0
    assert imageio.imread(tmp_path / "compare_worlds.mp4", index=0).shape[1] == 4 * 320
    sheet = imageio.imread(tmp_path / "compare_worlds.png")
    assert sheet.shape[1] == 2 * 112 + 380
    for colour in COLOURS.values():
        assert (sheet[22:402, 224:] == colour).all(axis=-1).any()


def test_a_robot_is_where_the_frame_shows_it() -> None:
    picture = np.zeros((34, 4, 4, 3), np.uint8)
    infos = [{"pose": np.array([x, 0, 0], np.float32)} for x in (0, 1, 3)]
    comparison = PairedEpisode(picture[0], picture, picture, {"learned": infos}, None)
    for frame, expected in ((0, [0, 1 / 17]), (16, [0, 1]), (17, [0, 1, 1 + 2 / 17]), (33, [0, 1, 3])):
        np.testing.assert_allclose(comparison.tracks(frame)["learned"].poses[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "steps must be at least 1"),
        (["--policy", "nowhere:nothing"], "no policy"),
        (["--start", "9"], "start"),
    ],
)
def test_bad_input_ends_with_two(
    needs_rendering: None,
    tiny_checkpoint: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*options, "--checkpoint", str(tiny_checkpoint)]) == 2
    assert message in capsys.readouterr().err
