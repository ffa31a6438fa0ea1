"""Stops a training between two steps when the system or a person asks for it."""

import signal
import threading
from types import FrameType
from typing import Self


class TrainingStopped(Exception):  # noqa: N818 - nothing went wrong
    """A signal asked the training to stop: its state is saved, and it can be resumed."""

    def __init__(self, signal: int, steps_done: int) -> None:
        super().__init__(f"stopped by signal {signal} after step {steps_done}; its state is saved, resume to go on")
        self.signal = signal


class StopRequest:
    """Notes SIGTERM and SIGINT while it is entered, in place of dying at once; a second one kills as usual.

    Attributes:
        signal: the signal that came; None: none yet.
    """

    signal: int | None = None

    def __enter__(self) -> Self:
        self._previous = {}
        # Only the main thread may take signals.
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
