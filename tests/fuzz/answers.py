"""Tries an input and classifies the answer."""

import contextlib
import io
import resource
import signal
import time
from collections.abc import Callable, Iterator

import gymnasium

from hwm_env.cli import EXIT_BAD_INPUT, main
from hwm_env.errors import HWMError

CPU_SECONDS = 10
"""Limit of CPU time, which does not depend on other processes."""
WALL_SECONDS = 60
"""Limit of wall time, for inputs that wait and do not compute."""
MOST_GROWTH_KB = 1_000_000
LONGEST_MESSAGE = 6000
"""Maximum number of characters; names of 5,000 characters are repeated in full."""
GOOD = ("accepted", "refused")


class Hang(BaseException):
    """The time is over."""


def answer(attempt: Callable[[], object]) -> str:
    """Returns "accepted", "refused", or the fault of the answer."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        with _limited():
            attempt()
        kind = "accepted"
    except HWMError as error:
        kind = _judged(str(error))
    except gymnasium.error.Error as error:
        kind = _judged(str(error))
    except Hang:
        kind = "hang"
    except (Exception, SystemExit) as error:
        kind = f"raw {type(error).__name__}: {str(error)[:100]}"
    if time.process_time() - started > CPU_SECONDS:
        kind = "hang"
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > MOST_GROWTH_KB:
        kind = "grows"
    return kind


def run_command(*arguments: object) -> None:
    """Runs `hwm-env`; raises `HWMError` if it reports bad input correctly, `AssertionError` if it fails otherwise."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    if code == 0:
        return
    lines = [line for line in err.getvalue().splitlines() if line.startswith("hwm-env: ")]
    assert code == EXIT_BAD_INPUT, f"exit code {code}"
    assert len(lines) == 1, f"{len(lines)} lines"
    raise HWMError(lines[0])


def _judged(message: str) -> str:
    if not message or "\n" in message:
        return f"{len(message.splitlines())} lines"
    return "refused" if len(message) <= LONGEST_MESSAGE else f"a message of {len(message)} characters"


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, CPU_SECONDS), (signal.ITIMER_REAL, signal.SIGALRM, WALL_SECONDS))
    for timer, number, seconds in timers:
        signal.signal(number, stop)
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
