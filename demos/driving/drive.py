"""Plays a drive at 30 frames a second while the next clip is computed in another thread."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from typing import Final

from demos.driving.command import DriveCommand, Shaper
from demos.driving.session import DriveSnapshot, Session, WorldName
from demos.driving.track import Track
from hwm_env.errors import HWMError
from hwm_env.types import CLIP_DURATION_S, FRAME_RATE_HZ, UInt8Array

FRAME_S: Final = 1 / FRAME_RATE_HZ
SPARE_FRAMES: Final = 2
"""Number of frames by which the next clip should be ready before it is needed."""
MEMORY: Final = 0.7
"""Weight of the past in the running mean of computing times."""

Job = Callable[[Session], DriveSnapshot | None]
"""Runs in the session's thread; a snapshot that it returns is shown."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """The frame of a drive that is on the screen."""

    frames: Mapping[WorldName, UInt8Array]
    """Frame of each shown world, [S, S, 3]."""
    snapshot: DriveSnapshot
    """The snapshot that the frame belongs to."""
    share: float
    """Share of the snapshot's clip that has been shown, including this frame, 0..1."""

    @property
    def tracks(self) -> dict[WorldName, Track]:
        """The track of each world's robot up to this frame."""
        return {name: view.track.during(self.share) for name, view in self.snapshot.views.items()}


@dataclass(frozen=True, slots=True)
class Pace:
    """How well the computation keeps up with the playback."""

    compute_s: float
    """Running mean of the time to compute a clip of 0.567 s."""
    latency_s: float | None
    """Time from the newest change of the command to the first frame that shows it; `None` before the first change."""
    queued_frames: int
    """Number of frames that are computed but not shown yet."""
    stalled_s: float
    """Time since the next frame was due; 0 if it is not late."""

    @property
    def real_time_factor(self) -> float:
        """Robot time per computing time; below 1 the computation is too slow for real time."""
        return CLIP_DURATION_S / self.compute_s if self.compute_s else float("inf")


@dataclass(slots=True, eq=False)
class _Pending:
    result: Future[DriveSnapshot | None]
    changed_s: float | None
    """Time of the command's change, if this step is the first to follow it."""
    is_wanted: bool = True
    """Whether its frames will be shown."""


class Drive:
    """Runs a session in its own thread, and plays the frames that it computes.

    The command of a clip is read as late as possible: when the remaining frames last just long enough to compute the
    next ones. All jobs of the session run in order in its thread, as OpenGL requires.

    Args:
        make_session: makes the session; called in the thread.
        clock: returns the time in seconds.
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
        self._frames: deque[tuple[ShownFrame, float | None]] = deque()
        self._due_s = clock()
        self._compute_s = 0.0
        self._latency_s: float | None = None
        self.paused = False
        """Whether steps are taken only by `step_once`."""
        self.error: str | None = None
        """Message of the last job's error, if it failed."""
        self.shown = _newest(self.session.now)
        """The frame on the screen."""

    @property
    def pace(self) -> Pace:
        """The present pace."""
        waiting = self._pending is not None and not self._frames and not self.paused
        stalled_s = max(0.0, self._clock() - self._due_s) if waiting else 0.0
        return Pace(self._compute_s, self._latency_s, len(self._frames), stalled_s)

    @property
    def is_idle(self) -> bool:
        """Whether no job is running or waiting, and no frame is left to show."""
        return not (self._pending or self._jobs or self._frames)

    def command(self, command: DriveCommand) -> None:
        """Sets the driver's command from now on."""
        if command != self._command:
            self._command = command
            self._changed_s = self._clock() if self._changed_s is None else self._changed_s

    def ask(self, job: Callable[[Session], DriveSnapshot]) -> None:
        """Queues a job other than a step, such as `Session.rewind`, and shows its snapshot.

        Frames that are waiting or being computed are dropped.
        """
        self._frames.clear()
        if self._pending is not None:
            self._pending.is_wanted = False
        self._jobs.append(job)

    def change(self, job: Callable[[Session], None]) -> None:
        """Queues a job that changes no frame, such as `Session.decode`, between two steps."""
        self._jobs.append(job)

    def step_once(self) -> None:
        """Queues one step if the drive is paused."""
        if self.paused:
            self._jobs.append(self._step)

    def tick(self) -> bool:
        """Collects a finished job, starts the next one, and advances to the next frame if it is due.

        Returns:
            Whether `shown` has changed.
        """
        changed = self._take()
        self._begin()
        now_s = self._clock()
        if now_s < self._due_s or not self._frames:
            return changed
        self.shown, changed_s = self._frames.popleft()
        if changed_s is not None:
            self._latency_s = now_s - changed_s
        # After a stall the schedule restarts at the present time.
        self._due_s = max(self._due_s + FRAME_S, now_s)
        return True

    def close(self) -> None:
        """Ends the thread after its running job."""
        self._jobs.clear()
        self._thread.submit(self.session.close)
        self._thread.shutdown()

    def _take(self) -> bool:
        """Collects the result of a finished job; returns whether it is shown at once."""
        if self._pending is None or not self._pending.result.done():
            return False
        pending, self._pending = self._pending, None
        try:
            snapshot = pending.result.result()
        except HWMError as error:
            self.error, self.paused = str(error), True
            return False
        if snapshot is None:
            return False
        frames = {name: view.frames for name, view in snapshot.views.items()}
        count = min(len(each) for each in frames.values())
        if count == 1:
            self._shaper.reset()
            self._frames.clear()
            self.shown = _newest(snapshot)
            return True
        self._compute_s = (
            snapshot.compute_s if not self._compute_s else MEMORY * self._compute_s + (1 - MEMORY) * snapshot.compute_s
        )
        for index in range(count if pending.is_wanted else 0):
            shown = ShownFrame({name: each[index] for name, each in frames.items()}, snapshot, (index + 1) / count)
            self._frames.append((shown, pending.changed_s if index == 0 else None))
        return False

    def _begin(self) -> None:
        """Starts the next job, or the next step if it is time for it."""
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

    def _step(self, session: Session) -> DriveSnapshot:
        return session.step(self._shaper.chunk(self._command, session.now.state))


def _newest(snapshot: DriveSnapshot) -> ShownFrame:
    return ShownFrame({name: view.frames[-1] for name, view in snapshot.views.items()}, snapshot, 1.0)
