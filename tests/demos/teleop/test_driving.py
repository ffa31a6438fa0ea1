"""Effects of keys with room-64, compared with the reference world."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pygame")

from demos.driving.session import SessionConfig
from hwm_env.reference.rendering import can_render
from hwm_env.types import UInt8Array
from tests.demos.teleop.test_teleop import Driver, window  # noqa: F401 (a fixture)

pytestmark = pytest.mark.slow

START = 55
"""The room ahead, both arms hanging."""


@pytest.fixture
def driver(window: None, tmp_path: Path) -> Iterator[Driver]:  # noqa: F811
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    made = Driver(SessionConfig(task=None, start=START), tmp_path)
    made.tap("space")
    made.until(lambda: made.drive.is_idle)
    made.tap("return")
    made.until(lambda: made.drive.shown.snapshot.step == 0 and made.drive.is_idle)
    made.tap("tab")
    made.tap("tab")
    made.until(lambda: len(made.drive.shown.frames) == 2 and made.drive.is_idle)
    yield made
    made.drive.close()


def poses(driver: Driver) -> list[np.ndarray]:
    """Returns the base's pose in the learned world, by its read-out, and in the reference world."""
    views = driver.drive.shown.snapshot.views
    return [np.array(views[world].info["base_pose"]) for world in ("learned", "reference")]  # type: ignore[index]


def frames(driver: Driver) -> list[UInt8Array]:
    shown = driver.drive.shown.frames
    return [shown["learned"], shown["reference"]]


def shift(before: UInt8Array, after: UInt8Array) -> int:
    """Returns the columns by which the upper half of the view has moved to the right."""
    one, other = (frame[:32].astype(float) for frame in (before, after))
    errors = {
        by: np.abs(other[:, max(by, 0) : 64 + min(by, 0)] - one[:, max(-by, 0) : 64 - max(by, 0)]).mean()
        for by in range(-24, 25)
    }
    return min(errors, key=lambda by: errors[by])


@pytest.mark.parametrize(("key", "sign"), [("a", 1), ("d", -1)])
def test_turning_turns_the_view(driver: Driver, key: str, sign: int) -> None:
    before, seen = poses(driver), frames(driver)
    driver.press(key)
    driver.take_steps(2)
    for then, now in zip(before, poses(driver), strict=True):
        turned = sign * np.angle(np.exp(1j * (now[2] - then[2])))
        assert 0.2 < turned < 0.8
    # What was ahead moves to the other side.
    for then, now in zip(seen, frames(driver), strict=True):
        assert sign * shift(then, now) >= 6


def test_driving_comes_nearer(driver: Driver) -> None:
    before, seen = poses(driver), frames(driver)
    driver.press("w")
    driver.take_steps(3)
    ways = [now - then for then, now in zip(before, poses(driver), strict=True)]
    ahead = [float(way[:2] @ [np.cos(then[2]), np.sin(then[2])]) for then, way in zip(before, ways, strict=True)]
    assert ahead[1] > 0.4
    assert abs(ahead[0] - ahead[1]) < 0.35
    learned, truth, stayed = (frame.astype(float) for frame in (*frames(driver), seen[1]))
    assert ((learned - truth) ** 2).mean() < ((stayed - truth) ** 2).mean()


def test_an_arm_rises_into_view(driver: Driver) -> None:
    """Only the left arm is orange."""

    def orange(frame: UInt8Array) -> float:
        red, green, blue = (frame[24:, :40, channel].astype(int) for channel in range(3))
        return float(((red > 150) & (green > 70) & (green < 190) & (blue < 110) & (red - green > 40)).mean())

    before = [orange(frame) for frame in frames(driver)]
    driver.tap("i")
    driver.take_steps(4)
    after = [orange(frame) for frame in frames(driver)]
    for then, now in zip(before, after, strict=True):
        assert now > then + 0.03
