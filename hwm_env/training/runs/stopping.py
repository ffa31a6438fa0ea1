"""Stops a training between two steps on SIGTERM or SIGINT."""

import signal
import threading
from types import FrameType
from typing import Self


class TrainingStopped(Exception):  # noqa: N818 - nothing went wrong
    """Raised after a signal requested to stop the training; its state is saved, and it can be resumed."""

    def __init__(self, signal: int, steps_done: int) -> None:
        super().__init__(f"stopped by signal {signal} after step {steps_done}; its state is saved, resume to continue")
        self.signal = signal


class StopRequest:
    """A context that records SIGTERM and SIGINT instead of ending the process; a second signal ends it as usual.

    Attributes:
        signal: the signal that was received; `None` if none yet.
    """

    signal: int | None = None

    def __enter__(self) -> Self:
        self._previous = {}
        # Only the main thread may set signal handlers.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        for other in self._previous:
            signal.signal(other, signal.SIG_DFL)
