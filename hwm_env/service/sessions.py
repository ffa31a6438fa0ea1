"""Sessions: rows that a service keeps between requests, until they expire."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hwm_env.envs.learned import LearnedMoment
from hwm_env.errors import HWMError


class UnknownSessionError(HWMError):
    """There is no such session, or it has expired."""


class SessionConflictError(HWMError):
    """A session is busy, or not where a request expects it."""


class SessionsFullError(HWMError):
    """No further session can be opened now."""


@dataclass(slots=True)
class Session:
    """One row that is kept."""

    id: str
    moment: LearnedMoment
    steps: int
    """Clips that it has predicted."""
    used_s: float
    """When it was last used."""
    busy: bool = False
    """Whether a request advances it now."""


class Sessions:
    """All open sessions. For one thread, that of the requests.

    Args:
        most: largest number of sessions.
        expires_s: seconds without a request after which a session is closed.
        clock: a clock in seconds.
    """

    def __init__(self, most: int, expires_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.expires_s = expires_s
        self.expired = 0
        """Number of sessions that have expired."""
        self._clock = clock
        self._by_id: dict[str, Session] = {}

    def __len__(self) -> int:
        self._expire()
        return len(self._by_id)

    def check_space(self, count: int = 1) -> None:
        """Raises SessionsFullError unless so many more sessions can be opened."""
        if len(self) + count > self.most:
            raise SessionsFullError(
                f"{len(self)} of {self.most} sessions are open; close some, or wait until they expire after "
                f"{self.expires_s:g} s without a request"
            )

    def open(self, moment: LearnedMoment, steps: int = 0) -> Session:
        """Opens a session.

        Raises:
            SessionsFullError: there are too many.
        """
        self.check_space()
        session = Session(secrets.token_urlsafe(16), moment, steps, self._clock())
        self._by_id[session.id] = session
        return session

    def get(self, session_id: str) -> Session:
        """Returns a session and notes that it is used.

        Raises:
            UnknownSessionError: there is none of this name.
        """
        self._expire()
        if session_id not in self._by_id:
            raise UnknownSessionError(
                f"there is no such session; it was closed, or expired after {self.expires_s:g} s without a request"
            )
        session = self._by_id[session_id]
        session.used_s = self._clock()
        return session

    @contextmanager
    def advancing(self, session_id: str, after: int | None) -> Iterator[Session]:
        """Yields a session that no other request may advance meanwhile.

        Args:
            session_id: its name.
            after: clips that it must have predicted; `None`: any number.

        Raises:
            UnknownSessionError: there is none of this name.
            SessionConflictError: another request advances it, or it has predicted another number of clips.
        """
        session = self.get(session_id)
        if session.busy:
            raise SessionConflictError("another request advances this session now; send one after the other, or fork")
        if after is not None and after != session.steps:
            raise SessionConflictError(f"the session has predicted {session.steps} clips, not {after}")
        session.busy = True
        try:
            yield session
        finally:
            session.busy = False
            session.used_s = self._clock()

    def close(self, session_id: str) -> None:
        """Closes a session.

        Raises:
            UnknownSessionError: there is none of this name.
        """
        del self._by_id[self.get(session_id).id]

    def _expire(self) -> None:
        last_s = self._clock() - self.expires_s
        old = [session.id for session in self._by_id.values() if session.used_s < last_s and not session.busy]
        for session_id in old:
            del self._by_id[session_id]
        self.expired += len(old)
