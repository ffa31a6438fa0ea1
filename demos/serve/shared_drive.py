"""A drive that several browsers share: all watch, and one of them drives."""

import asyncio
import base64
import io
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image

from demos.driving.actions import perform
from demos.driving.controls import Controls, Sticks
from demos.driving.drive import Drive, ShownFrame
from demos.driving.floor_plan import FloorPlan, captions
from demos.driving.session import DriveSnapshot
from demos.driving.status import error_probability, figure, numbers, sentences
from demos.panels import smooth
from demos.serve.messages import Hold, Message, Press, Wheel
from demos.serve.silence_timer import SilenceTimer
from hwm_env.envs.actions import bounds
from hwm_env.errors import InvalidInputError
from hwm_env.robot import EVE

TICKS_A_SECOND: Final = 120
FRAMES_PER_STATUS: Final = 6
JPEG_QUALITY: Final = 85
PICTURE_PIXELS: Final = 384
"""Side of a world's picture."""
PLAN_PIXELS: Final = 256
STOPPED_AFTER_S: Final = 1.0
"""Silence of the driver after which the robot stops; its page repeats held actions four times a second."""
FREED_AFTER_S: Final = 2.0
"""Silence after which the wheel becomes free."""


class Viewer:
    """The news for one browser; only the newest of each kind is kept, so that slow browsers skip some."""

    def __init__(self) -> None:
        self._newest: dict[str, str | bytes] = {}
        self._has_news = asyncio.Event()

    def tell(self, kind: str, content: str | bytes) -> None:
        """Replaces the news of a kind."""
        self._newest[kind] = content
        self._has_news.set()

    async def news(self) -> Sequence[str | bytes]:
        """Waits for news, and returns it."""
        await self._has_news.wait()
        self._has_news.clear()
        newest, self._newest = list(self._newest.values()), {}
        return newest


class SharedDrive:
    """A drive with its viewers, of whom one may hold the wheel.

    Args:
        drive: the drive.
        task: name of its task, to show.
        most_viewers: largest number of viewers.
        clock: returns the time in seconds.
    """

    def __init__(
        self, drive: Drive, task: str | None, most_viewers: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.drive = drive
        self._task = task
        self._most_viewers = most_viewers
        self._controls = Controls(drive.session.robot)
        self._viewers: set[Viewer] = set()
        self._driver: Viewer | None = None
        self._silence = SilenceTimer(clock)
        self._held: frozenset[str] = frozenset()
        self._sticks = Sticks()
        self._frames = 0
        self._newest: DriveSnapshot | None = None
        scene = drive.session.scene
        self._plan = None if scene is None else FloorPlan(scene.odometry, PLAN_PIXELS)

    def enter(self) -> Viewer:
        """Adds a viewer.

        Raises:
            InvalidInputError: there are too many viewers.
        """
        if len(self._viewers) >= self._most_viewers:
            raise InvalidInputError(f"{self._most_viewers} viewers are watching already; try again later")
        viewer = Viewer()
        self._viewers.add(viewer)
        viewer.tell("hello", json.dumps({"type": "hello", **self._limits()}))
        viewer.tell("picture", encoded(self.drive.shown))
        self._tell_status()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Removes a viewer, and frees the wheel if it was the driver."""
        self._viewers.discard(viewer)
        if viewer is self._driver:
            self._let_go()

    def obey(self, viewer: Viewer, message: Message) -> None:
        """Follows a message of the driver; other viewers can only take the wheel if it is free."""
        match message:
            case Wheel(take=True) if self._driver is None:
                self._driver = viewer
            case Wheel(take=False) if self._driver is viewer:
                self._let_go()
            case Hold(actions=actions, sticks=sticks) if self._driver is viewer:
                self._held, self._sticks = actions, sticks
            case Press(action=action) if self._driver is viewer:
                self._controls.press(action)
                perform(self.drive, action)
        if viewer is self._driver:
            self._silence.restart()
        # Held actions show in the next frames.
        if not isinstance(message, Hold):
            self._tell_status()

    async def run(self) -> None:
        """Advances the drive while it has viewers."""
        while True:
            if self._viewers:
                self.tick()
            await asyncio.sleep(1 / TICKS_A_SECOND)

    def tick(self) -> None:
        """Advances the drive once; a silent driver loses the held actions, and later the wheel."""
        silent_s = self._silence.elapsed_s()
        if self._driver is not None and silent_s > FREED_AFTER_S:
            self._let_go()
        elif silent_s > STOPPED_AFTER_S:
            self._held, self._sticks = frozenset(), Sticks()
        self.drive.command(self._controls.command(self._held, self._sticks))
        if not self.drive.tick():
            return
        picture = encoded(self.drive.shown)
        for viewer in self._viewers:
            viewer.tell("picture", picture)
        self._frames += 1
        if self._frames % FRAMES_PER_STATUS == 0 or self.drive.shown.snapshot is not self._newest:
            self._tell_status()

    def _let_go(self) -> None:
        self._driver, self._held, self._sticks = None, frozenset(), Sticks()
        self._tell_status()

    def _limits(self) -> dict[str, Any]:
        robot = self.drive.session.robot
        low, high = (limits[robot.indices].tolist() for limits in bounds(self.drive.session.statistics, robot))
        return {"names": robot.names, "low": low, "high": high, "picture": PICTURE_PIXELS}

    def _tell_status(self) -> None:
        snapshot = self._newest = self.drive.shown.snapshot
        state, robot = snapshot.state, self.drive.session.robot
        status = {
            "type": "status",
            "sentences": sentences(self.drive, self._task),
            "numbers": numbers(self.drive, self._controls),
            "state": np.round(state[robot.indices], 4).tolist(),
            "joint": self._controls.joint,
            "figure": figure(state) if robot == EVE else {},
            "worlds": list(self.drive.shown.frames),
            "step": snapshot.step,
            "rewinds": snapshot.rewinds,
            "risk": error_probability(snapshot),
            "paused": self.drive.paused,
            "error": self.drive.error,
            "plan": None if self._plan is None else _drawn(self._plan, self.drive.shown),
            "viewers": len(self._viewers),
        }
        for viewer in self._viewers:
            role = "driver" if viewer is self._driver else "taken" if self._driver is not None else "free"
            viewer.tell("status", json.dumps({**status, "wheel": role}))


def encoded(shown: ShownFrame) -> bytes:
    """Encodes the shown worlds side by side, 384 pixels high, as a JPEG."""
    picture = np.concatenate([smooth(frame, PICTURE_PIXELS) for frame in shown.frames.values()], axis=1)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _drawn(plan: FloorPlan, shown: ShownFrame) -> dict[str, Any]:
    """Draws the floor plan as a data URL, with the captions of its marks."""
    file = io.BytesIO()
    Image.fromarray(plan.draw(shown.tracks)).save(file, format="PNG", compress_level=1)
    picture = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"picture": picture, "captions": captions(shown.tracks)}
