"""A single thread for all OpenGL contexts of the process.

A context works in one thread only. With a thread of their own, worlds can be used from any other thread, and contexts
that other code has made current in its threads are never replaced. No context is opened before the first drawing.
"""

import contextlib
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, ParamSpec, Self, TypeVar

from hwm_env.errors import HWMError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class RenderingUnavailableError(HWMError, RuntimeError):
    """MuJoCo cannot make an OpenGL context on this machine or in this process."""


class ClosedOnExit(ABC):
    """Base class of holders of an OpenGL context, which a `with` block closes at its end."""

    @abstractmethod
    def close(self) -> None:
        """Frees the OpenGL context; the next rendering opens another one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_here = threading.local()
"""Holds `is_gl_thread` in the OpenGL thread."""
_executor: Final = ThreadPoolExecutor(1, "hwm_env-opengl", lambda: setattr(_here, "is_gl_thread", True))
_used = False
_lost = False


def in_gl_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Calls a function in the OpenGL thread, waits for it, and returns its result or raises its error.

    Raises:
        RenderingUnavailableError: this process was forked from one that had used OpenGL.
    """
    global _used
    if _lost:
        raise RenderingUnavailableError(
            "this process was forked from one that had drawn with OpenGL, whose driver does not survive a fork; "
            "draw first in the new processes, or spawn them: gymnasium.make_vec(..., vectorization_mode='async', "
            "vector_kwargs={'context': 'spawn'}), multiprocessing.get_context('spawn')"
        )
    if getattr(_here, "is_gl_thread", False):
        return function(*args, **kwargs)
    _used = True
    return _executor.submit(function, *args, **kwargs).result()


def free_later(free: Callable[[], object]) -> None:
    """Schedules the freeing of a context; for finalizers, which may run in any thread at any time."""
    if _lost:
        # The context is the parent's, and its driver would wait for threads that the child lacks.
        return
    # At interpreter exit the thread is gone, and the driver frees everything itself.
    with contextlib.suppress(RuntimeError):
        _executor.submit(free)


def _after_fork() -> None:
    global _lost
    mujoco_egl = sys.modules.get("mujoco.egl")
    _lost = _lost or _used or getattr(mujoco_egl, "EGL_DISPLAY", None) is not None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
