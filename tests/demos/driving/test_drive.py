"""The pace of a drive, by a clock that the test controls."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from demos.driving.command import DriveCommand
from demos.driving.drive import FRAME_S, SPARE_FRAMES, Drive
from demos.driving.session import DriveSnapshot, View
from demos.driving.track import Track
from hwm_env.errors import ModelOutputError
from hwm_env.reference import robot
from tests.demos.driving.test_command import STATISTICS

COMPUTE_S = 0.2
LONGEST_S = 300.0
"""Longer than anything takes on a busy machine."""


class Worlds:
    """A session whose frames are numbers: 100 times the step, plus the frame's index."""

    statistics = STATISTICS

    def __init__(self) -> None:
        self.may_step = threading.Semaphore(0)
        self.chunks: list[np.ndarray] = []
        self.closed_in = ""
        self.now = self._snapshot(1)

    def step(self, chunk: np.ndarray) -> DriveSnapshot:
        assert self.may_step.acquire(timeout=LONGEST_S)
        self.chunks.append(chunk)
        return self._snapshot(17)

    def rewind(self, to_step: int) -> DriveSnapshot:
        del self.chunks[to_step:]
        return self._snapshot(1)

    def close(self) -> None:
        self.closed_in = threading.current_thread().name

    def _snapshot(self, count: int) -> DriveSnapshot:
        step = len(self.chunks)
        frames = np.full((count, 2, 2, 3), 100 * step) + np.arange(count)[:, None, None, None]
        state = self.chunks[-1][-1] if self.chunks else robot.REST_POSE
        infos = [{"pose": np.array([number, 0, 0], np.float32)} for number in range(step + 1)]
        view = View(frames, infos[-1], 0.0, 0.0, Track.of(infos))
        self.now = DriveSnapshot(step, state, {"learned": view}, COMPUTE_S, step)
        return self.now


class Stage:
    """A drive with its session and clock."""

    def __init__(self) -> None:
        self.time_s = 50.0
        self.worlds = Worlds()
        self.drive = Drive(lambda: self.worlds, lambda: self.time_s)  # type: ignore[arg-type, return-value]

    @property
    def picture(self) -> int:
        return int(self.drive.shown.frames["learned"][0, 0, 0])

    def computed(self, count: int = 1) -> None:
        """Lets the session take a step, and waits for it."""
        for _ in range(count):
            self.worlds.may_step.release()
        self.until(lambda: self.drive._pending is None or self.drive._pending.result.done())

    def until(self, holds: Callable[[], bool]) -> None:
        ends_s = time.monotonic() + LONGEST_S
        while not holds():
            assert time.monotonic() < ends_s, "it never came to that"
            time.sleep(0.005)

    def frames(self, count: int) -> list[int]:
        """Returns the frame on the screen after each of several frame times."""
        seen = []
        for _ in range(count):
            self.drive.tick()
            seen.append(self.picture)
            self.time_s += FRAME_S
        return seen


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    for _ in range(50):
        made.worlds.may_step.release()
    made.drive.close()
    assert made.worlds.closed_in.startswith("drive")


def test_every_frame_is_shown_once_and_in_its_time(stage: Stage) -> None:
    stage.drive.tick()
    assert stage.picture == 0
    stage.computed()
    assert stage.frames(11) == list(range(100, 111))
    stage.computed()
    assert stage.frames(23) == [*range(111, 117), *range(200, 217)]


def test_a_robot_is_where_the_picture_shows_it(stage: Stage) -> None:
    stage.drive.tick()
    stage.computed()
    assert stage.drive.shown.tracks["learned"].poses[:, 0].tolist() == [0]
    for frame in range(1, 5):
        stage.frames(1)
        track = stage.drive.shown.tracks["learned"]
        np.testing.assert_allclose(track.poses[:, 0], [0, frame / 17], rtol=1e-5)


def test_the_next_clip_is_begun_as_late_as_will_do(stage: Stage) -> None:
    stage.drive.tick()
    stage.computed()
    needed = round(COMPUTE_S / FRAME_S) + SPARE_FRAMES
    stage.frames(17 - needed - 1)
    assert stage.drive._pending is None
    stage.frames(2)
    assert stage.drive._pending is not None


def test_a_slow_model_is_said_to_be_slow(stage: Stage) -> None:
    stage.drive.tick()
    stage.computed()
    stage.frames(17)
    assert stage.picture == 116
    stage.frames(9)
    assert stage.picture == 116
    assert stage.drive.pace.stalled_s == pytest.approx(9 * FRAME_S, abs=1e-6)
    assert stage.drive.pace.real_time_factor == pytest.approx(17 / 30 / COMPUTE_S)
    stage.computed()
    # It continues from here at the normal pace.
    assert stage.frames(3) == [200, 201, 202]
    assert stage.drive.pace.stalled_s == 0


def test_latency_counts_from_the_key_to_its_first_picture(stage: Stage) -> None:
    stage.drive.tick()
    stage.computed()
    stage.frames(2)
    stage.drive.command(DriveCommand(forward=1.0))
    stage.time_s += 0.01
    stage.drive.command(DriveCommand(forward=1.0, turn=1.0))
    shown = stage.time_s
    stage.frames(13)
    stage.computed()
    while stage.picture < 200:
        shown = stage.time_s
        stage.frames(1)
    assert stage.worlds.chunks[0][-1, 23] == 0
    assert stage.worlds.chunks[1][-1, 23] > 0
    assert stage.drive.pace.latency_s == pytest.approx(shown - (50.0 + 2 * FRAME_S))


def test_pausing_plays_what_is_there_and_stops(stage: Stage) -> None:
    stage.drive.tick()
    stage.computed()
    stage.drive.paused = True
    assert stage.frames(20)[-1] == 116
    assert stage.drive.is_idle
    stage.drive.step_once()
    stage.frames(1)
    stage.computed()
    assert stage.frames(20)[-1] == 216
    assert len(stage.worlds.chunks) == 2


def test_going_back_drops_what_was_coming(stage: Stage) -> None:
    stage.drive.tick()
    stage.computed()
    stage.frames(12)
    assert stage.drive._pending is not None
    stage.drive.paused = True
    stage.drive.ask(lambda session: session.rewind(0))
    stage.computed()
    stage.until(lambda: bool(stage.frames(1)) and stage.picture == 0)
    assert stage.frames(30) == [0] * 30
    assert stage.worlds.chunks == []


def test_settings_change_no_picture(stage: Stage) -> None:
    stage.drive.tick()
    stage.computed()
    done: list[str] = []
    stage.drive.change(lambda session: done.append(threading.current_thread().name))
    stage.until(lambda: bool(stage.frames(1)) and bool(done))
    assert 100 <= stage.picture < 117
    assert done[0].startswith("drive")


def test_what_cannot_be_done_is_said_and_pauses(stage: Stage) -> None:
    def fail(session: Any) -> DriveSnapshot:
        raise ModelOutputError([0])

    stage.drive.ask(fail)
    stage.until(lambda: not stage.drive.tick() and stage.drive.error is not None)
    assert "not finite" in str(stage.drive.error)
    assert stage.drive.paused


def test_a_session_that_cannot_be_made_leaves_no_thread() -> None:
    def fail() -> Any:
        raise ModelOutputError([0])

    before = threading.active_count()
    with pytest.raises(ModelOutputError):
        Drive(fail)
    assert threading.active_count() == before
