"""One drive that several browsers watch, and one of them drives."""

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
from demos.driving.drive import Drive, Shown
from demos.driving.floor_plan import FloorPlan, captions
from demos.driving.session import DriveFrame
from demos.driving.status import figure, lines
from demos.serve.messages import Hold, Message, Press, Wheel
from demos.serve.silence import Silence
from hwm_env.envs.rendering import enlarged
from hwm_env.errors import InvalidInputError
from hwm_env.types import ACTION_NAMES

TICKS_A_SECOND: Final = 120
FRAMES_PER_STATUS: Final = 6
JPEG_QUALITY: Final = 85
PLAN_PIXELS: Final = 256
STOPPED_AFTER_S: Final = 1.0
"""Of a driver's silence; its page repeats four times a second what is held."""
FREED_AFTER_S: Final = 2.0


class Viewer:
    """A browser that watches. What it is too slow for is left out."""

    def __init__(self) -> None:
        self._newest: dict[str, str | bytes] = {}
        self._has_news = asyncio.Event()

    def tell(self, kind: str, content: str | bytes) -> None:
        """Keeps the newest of a kind for it."""
        self._newest[kind] = content
        self._has_news.set()

    async def news(self) -> Sequence[str | bytes]:
        """Waits for what is new."""
        await self._has_news.wait()
        self._has_news.clear()
        newest, self._newest = list(self._newest.values()), {}
        return newest


class Room:
    """The drive, who watches it, and who holds its wheel.

    Args:
        drive: what is driven.
        task: its name, to be shown.
        most_viewers: more are turned away.
        clock: gives seconds.
    """

    def __init__(
        self, drive: Drive, task: str | None, most_viewers: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.drive = drive
        self._task = task
        self._most_viewers = most_viewers
        self._controls = Controls()
        self._viewers: set[Viewer] = set()
        self._driver: Viewer | None = None
        self._silence = Silence(clock)
        self._held: frozenset[str] = frozenset()
        self._sticks = Sticks()
        self._frames = 0
        self._told: DriveFrame | None = None
        scene = drive.session.scene
        self._plan = None if scene is None else FloorPlan(scene.odometry, PLAN_PIXELS)

    def enter(self) -> Viewer:
        """Lets somebody watch.

        Raises:
            InvalidInputError: the room is full.
        """
        if len(self._viewers) >= self._most_viewers:
            raise InvalidInputError(f"{self._most_viewers} are watching already; try again later")
        viewer = Viewer()
        self._viewers.add(viewer)
        viewer.tell("hello", json.dumps({"type": "hello", **self._limits()}))
        viewer.tell("picture", encoded(self.drive.shown))
        self._tell_status()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Somebody is gone; nobody's hands stay on the wheel."""
        self._viewers.discard(viewer)
        if viewer is self._driver:
            self._let_go()

    def obey(self, viewer: Viewer, message: Message) -> None:
        """Does what the driver says; of others only that they want to drive, when nobody does."""
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
            self._silence.broken()
        # What is held shows in the frames to come.
        if not isinstance(message, Hold):
            self._tell_status()

    async def run(self) -> None:
        """Lets the drive go on, as long as somebody watches."""
        while True:
            if self._viewers:
                self.tick()
            await asyncio.sleep(1 / TICKS_A_SECOND)

    def tick(self) -> None:
        """One turn of `run`: a driver who says nothing any more lets go of everything, and then of the wheel."""
        silent_s = self._silence.listen()
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
        if self._frames % FRAMES_PER_STATUS == 0 or self.drive.shown.moment is not self._told:
            self._tell_status()

    def _let_go(self) -> None:
        self._driver, self._held, self._sticks = None, frozenset(), Sticks()
        self._tell_status()

    def _limits(self) -> dict[str, Any]:
        statistics = self.drive.session.statistics
        return {"names": ACTION_NAMES, "low": statistics.low.tolist(), "high": statistics.high.tolist()}

    def _tell_status(self) -> None:
        self._told = self.drive.shown.moment
        state = self._told.state
        learned = self._told.views.get("learned")
        status = {
            "type": "status",
            "lines": lines(self.drive, self._controls, self._task),
            "state": np.round(state, 4).tolist(),
            "joint": self._controls.joint,
            "figure": figure(state),
            "worlds": list(self.drive.shown.frames),
            "step": self._told.step,
            "rewinds": self._told.rewinds,
            "confidence": None if learned is None else learned.info.get("confidence"),
            "paused": self.drive.paused,
            "error": self.drive.error,
            "plan": None if self._plan is None else _drawn(self._plan, self.drive.shown),
            "viewers": len(self._viewers),
        }
        for viewer in self._viewers:
            role = "driver" if viewer is self._driver else "taken" if self._driver is not None else "free"
            viewer.tell("status", json.dumps({**status, "wheel": role}))


def encoded(shown: Shown) -> bytes:
    """The shown worlds side by side, 256 pixels high, as JPEG."""
    picture = np.concatenate([enlarged(frame) for frame in shown.frames.values()], axis=1)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _drawn(plan: FloorPlan, shown: Shown) -> dict[str, Any]:
    """The plan as an address that a page can show, and what its marks tell."""
    file = io.BytesIO()
    Image.fromarray(plan.draw(shown.tracks)).save(file, format="PNG", compress_level=1)
    picture = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"picture": picture, "captions": captions(shown.tracks)}
