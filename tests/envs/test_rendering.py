import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from hwm_env.envs.rendering import enlarged
from hwm_env.errors import InvalidInputError
from tests.envs.conftest import MakeEnv


def test_enlarging_repeats_pixels() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(enlarged(frame), frame.repeat(4, axis=0).repeat(4, axis=1))
    assert enlarged(frame[:40, :40]).shape == (256, 256, 3)


def test_rgb_array_is_the_newest_frame(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id, render_mode="rgb_array")
    shown = [env.reset(seed=0)[0], env.step(env.action_space.sample())[0]]
    picture = env.render()
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[::4, ::4], shown[-1])
    assert (picture[::4, ::4] != shown[0]).any()


@pytest.mark.usefixtures("no_screen")
def test_a_window_plays_the_clip(make_env: MakeEnv, env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame")
    env = make_env(env_id, render_mode="human", obs_mode="clip")
    env.reset(seed=0)
    shown = []
    flip = pygame.display.flip

    def note() -> None:
        flip()
        shown.append(pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)[::4, ::4])

    monkeypatch.setattr(pygame.display, "flip", note)
    clip = env.step(env.action_space.sample())[0]
    np.testing.assert_array_equal(np.stack(shown), clip)
    assert env.render() is None
    np.testing.assert_array_equal(shown[17], clip[-1])
    env.close()
    assert not pygame.display.get_init()
    env.close()


def test_nothing_is_shown_without_a_mode(make_env: MakeEnv) -> None:
    env = make_env(disable_env_checker=True).unwrapped
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode=None"):
        assert env.render() is None


def test_closing_twice_is_fine(make_env: MakeEnv, env_id: str) -> None:
    env = make_env(env_id).unwrapped
    env.reset(seed=0)
    env.close()
    env.close()


@pytest.mark.slow
def test_record_video(make_env: MakeEnv, tmp_path: Path) -> None:
    pytest.importorskip("moviepy", reason="gymnasium.wrappers.RecordVideo needs moviepy")
    av = pytest.importorskip("av")
    env = gymnasium.wrappers.RecordVideo(make_env(render_mode="rgb_array"), str(tmp_path / "videos"))
    env.reset(seed=0)
    for _ in range(4):
        env.step(env.action_space.sample())
    env.close()
    (file,) = (tmp_path / "videos").iterdir()
    with av.open(file) as video:
        frames = list(video.decode(video=0))
    assert len(frames) == 5
    assert (frames[0].width, frames[0].height) == (256, 256)


REFUSED = "there is no display to open a window on ({}); use render_mode='rgb_array', or"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes all that tells SDL where to show windows."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "SDL_VIDEO_DRIVER"):
        monkeypatch.delenv(name, raising=False)


@on_linux
@pytest.mark.usefixtures("no_display")
@pytest.mark.parametrize(("chosen", "refused"), [("x11", True), ("dummy", False)])
def test_a_driver_without_a_display_is_refused_and_one_that_needs_none_is_not(
    make_env: MakeEnv, monkeypatch: pytest.MonkeyPatch, chosen: str, refused: bool
) -> None:
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", chosen)
    env = make_env(task=None, render_mode="human", decoding_steps=1)
    expected = pytest.raises(InvalidInputError, match=re.escape(REFUSED.format("x11 not available")))
    with expected if refused else nullcontext():
        env.reset(seed=0)


WITHOUT_DISPLAY = """
import os, sys
import gymnasium, hwm_env.errors

for chosen in ({}, {"SDL_VIDEODRIVER": "offscreen"}):
    os.environ.update(chosen)
    env = gymnasium.make("HWM-v0", checkpoint=sys.argv[1], task=None, render_mode="human", decoding_steps=1)
    try:
        env.reset(seed=0)
        print("shown")
    except hwm_env.errors.InvalidInputError as error:
        print(error)
    env.close()
"""


@pytest.mark.slow
@on_linux
@pytest.mark.usefixtures("no_display")
def test_a_window_that_nobody_sees_is_refused_unless_it_is_asked_for(tiny_checkpoint: Path) -> None:
    """In another process: SDL's offscreen driver ends the process's use of EGL, with which MuJoCo renders."""
    pytest.importorskip("pygame")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DISPLAY, str(tiny_checkpoint)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    refused, shown = done.stdout.splitlines()
    assert refused.startswith(REFUSED.format("SDL would draw offscreen"))
    assert shown == "shown"
