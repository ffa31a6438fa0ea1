"""Measures the delay of keys and the frames a second in teleop; prints, asserts nothing: `make bench`."""

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pygame")

from demos.driving.session import SessionConfig
from hwm_env.types import FRAME_RATE_HZ
from tests.demos.teleop.test_teleop import Driver, window  # noqa: F401 (a fixture)

pytestmark = pytest.mark.benchmark

SECONDS = 10
KEYS = 8


def test_key_to_picture(window: None, tmp_path: Path) -> None:  # noqa: F811
    """Opens the window with room-64 on a dummy screen."""
    driver = Driver(SessionConfig(task=None, start=55), tmp_path)
    driver.until(lambda: driver.drive.shown.snapshot.step == 3)
    began_s, before = time.monotonic(), driver.app.frames_shown
    driver.until(lambda: time.monotonic() - began_s >= SECONDS)
    rate = (driver.app.frames_shown - before) / (time.monotonic() - began_s)
    latencies = []
    for key in ("a", "d") * (KEYS // 2):
        known = driver.drive.pace.latency_s
        driver.press(key)
        driver.until(lambda known=known: driver.drive.pace.latency_s != known)
        latencies.append(driver.drive.pace.latency_s)
        driver.release(key)
        driver.until(lambda before=latencies[-1]: driver.drive.pace.latency_s != before)
    pace = driver.drive.pace
    print(
        f"\nteleop: {rate:.1f} frames a second of {FRAME_RATE_HZ}, {pace.real_time_factor:.1f} x real time, "
        f"key to picture {1000 * np.median(latencies):.0f} ms (median of {len(latencies)})"
    )
    driver.drive.close()
