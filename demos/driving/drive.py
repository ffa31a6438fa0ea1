"""Plays a drive at 30 frames a second while the next clip is computed elsewhere."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from typing import Final

from demos.driving.command import DriveCommand, Shaper
from demos.driving.session import DriveFrame, Session, WorldName
from demos.driving.track import Track
from hwm_env.errors import HWMError
from hwm_env.types import CLIP_DURATION_S, FRAME_RATE_HZ, UInt8Array

FRAME_S: Final = 1 / FRAME_RATE_HZ
SPARE_FRAMES: Final = 2
"""The next clip shall be ready so many frames before it is needed."""
MEMORY: Final = 0.7
"""Of the running mean of computing times."""

Job = Callable[[Session], DriveFrame | None]
"""What is done in the session's thread; a moment that it gives is shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One frame of a drive, as it is on the screen."""

    frames: Mapping[WorldName, UInt8Array]
    """[S, S, 3] of each world that is shown."""
    moment: DriveFrame
    """That it belongs to."""
    share: float
    """Of the moment's clip that has been shown with it, 0..1."""

    @property
    def tracks(self) -> dict[WorldName, Track]:
        """Where the robots are in this frame, and where they have been."""
        return {name: view.track.during(self.share) for name, view in self.moment.views.items()}


@dataclass(frozen=True, slots=True)
class Pace:
    """How well the computation keeps up."""

    compute_s: float
    """Running mean for a clip of 0.567 s."""
    latency_s: float | None
    """From the newest change of the command to the first picture that shows it; None before the first."""
    queued_frames: int
    """Computed and not shown yet."""
    stalled_s: float
    """How long the newest picture has stood although the next one was due; 0 when all is well."""

    @property
    def real_time_factor(self) -> float:
        """Robot time a second of computing; below 1 the model is the bottleneck."""
        return CLIP_DURATION_S / self.compute_s if self.compute_s else float("inf")


@dataclass(slots=True, eq=False)
class _Pending:
    result: Future[DriveFrame | None]
    changed_s: float | None
    """When the command changed that it is the first to obey."""
    is_wanted: bool = True
    """Whether its frames are to be shown."""


class Drive:
    """A session in a thread of its own, and the frames that it has made.

    The command of a clip is read as late as possible: when the frames that are left last just long enough to compute
    the next ones. All that is asked of the session is done in turn, in its thread (OpenGL wants that).

    Args:
        make_session: called in the thread.
        clock: gives seconds.
    """

    def __init__(self, make_session: Callable[[], Session], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "drive")
        try:
            self.session = self._thread.submit(make_session).result()
        except BaseException:
            self._thread.shutdown()
            raise
        self._shaper = Shaper(self.session.statistics)
        self._command = DriveCommand()
        self._changed_s: float | None = None
        self._jobs: deque[Job] = deque()
        self._pending: _Pending | None = None
        self._frames: deque[tuple[Shown, float | None]] = deque()
        self._due_s = clock()
        self._compute_s = 0.0
        self._latency_s: float | None = None
        self.paused = False
        """Whether no step is taken by itself."""
        self.error: str | None = None
        """What could not be done last."""
        self.shown = _newest(self.session.now)
        """What is on the screen."""

    @property
    def pace(self) -> Pace:
        """How well the computation keeps up now."""
        waiting = self._pending is not None and not self._frames and not self.paused
        stalled_s = max(0.0, self._clock() - self._due_s) if waiting else 0.0
        return Pace(self._compute_s, self._latency_s, len(self._frames), stalled_s)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is computed, asked for or left to show."""
        return not (self._pending or self._jobs or self._frames)

    def command(self, command: DriveCommand) -> None:
        """What is wanted from now on."""
        if command != self._command:
            self._command = command
            self._changed_s = self._clock() if self._changed_s is None else self._changed_s

    def ask(self, job: Callable[[Session], DriveFrame]) -> None:
        """Does something else than a step, such as `Session.rewind`, and shows what it gives.

        Frames that are waiting are dropped, and so are those that are being computed.
        """
        self._frames.clear()
        if self._pending is not None:
            self._pending.is_wanted = False
        self._jobs.append(job)

    def change(self, job: Callable[[Session], None]) -> None:
        """Does something that changes no picture, such as `Session.decode`, between two steps."""
        self._jobs.append(job)

    def step_once(self) -> None:
        """Takes one step, if it is paused."""
        if self.paused:
            self._jobs.append(self._step)

    def tick(self) -> bool:
        """Takes in what is computed, begins what is to be, and goes on to the next frame if it is due.

        Returns:
            Whether `shown` is another one than before.
        """
        changed = self._take()
        self._begin()
        now_s = self._clock()
        if now_s < self._due_s or not self._frames:
            return changed
        self.shown, changed_s = self._frames.popleft()
        if changed_s is not None:
            self._latency_s = now_s - changed_s
        # After a stall the next frame is due from now on.
        self._due_s = max(self._due_s + FRAME_S, now_s)
        return True

    def close(self) -> None:
        """Ends the thread when it has finished what it is at."""
        self._jobs.clear()
        self._thread.submit(self.session.close)
        self._thread.shutdown()

    def _take(self) -> bool:
        """Takes in a result; whether it is shown at once."""
        if self._pending is None or not self._pending.result.done():
            return False
        pending, self._pending = self._pending, None
        try:
            moment = pending.result.result()
        except HWMError as error:
            self.error, self.paused = str(error), True
            return False
        if moment is None:
            return False
        frames = {name: view.frames for name, view in moment.views.items()}
        count = min(len(each) for each in frames.values())
        if count == 1:
            self._shaper.reset()
            self._frames.clear()
            self.shown = _newest(moment)
            return True
        self._compute_s = (
            moment.compute_s if not self._compute_s else MEMORY * self._compute_s + (1 - MEMORY) * moment.compute_s
        )
        for index in range(count if pending.is_wanted else 0):
            shown = Shown({name: each[index] for name, each in frames.items()}, moment, (index + 1) / count)
            self._frames.append((shown, pending.changed_s if index == 0 else None))
        return False

    def _begin(self) -> None:
        """Begins the next computation, if there is something to do and it is time."""
        if self._pending is not None:
            return
        if self._jobs:
            self.error = None
            self._submit(self._jobs.popleft())
        elif not self.paused and len(self._frames) <= ceil(self._compute_s / FRAME_S) + SPARE_FRAMES:
            self._submit(self._step)

    def _submit(self, job: Job) -> None:
        changed_s = None
        if job == self._step:
            changed_s, self._changed_s = self._changed_s, None
        self._pending = _Pending(self._thread.submit(job, self.session), changed_s)

    def _step(self, session: Session) -> DriveFrame:
        return session.step(self._shaper.chunk(self._command, session.now.state))


def _newest(moment: DriveFrame) -> Shown:
    return Shown({name: view.frames[-1] for name, view in moment.views.items()}, moment, 1.0)
