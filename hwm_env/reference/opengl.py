"""One thread of the process to which all its OpenGL contexts belong.

A context works in one thread only. With a thread of their own, worlds can be used from any other, and no context that
somebody else has made current in a thread of theirs is ever replaced. Nothing is opened before something is drawn.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from hwm_env.errors import HWMError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class RenderingUnavailableError(HWMError, RuntimeError):
    """MuJoCo cannot make an OpenGL context on this machine, or in this process."""


_here = threading.local()
"""`is_gl_thread` in that thread."""
_executor: Final = ThreadPoolExecutor(1, "hwm_env-opengl", lambda: setattr(_here, "is_gl_thread", True))
_used = False
_lost = False


def in_gl_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Calls a function in the thread of OpenGL, and waits for what it returns or raises.

    Raises:
        RenderingUnavailableError: this process was forked from one in which OpenGL was used.
    """
    global _used
    if _lost:
        raise RenderingUnavailableError(
            "this process was forked from one that had drawn with OpenGL already, whose driver does not survive that; "
            "draw first in the new processes, or spawn them: gymnasium.make_vec(..., vectorization_mode='async', "
            "vector_kwargs={'context': 'spawn'}), multiprocessing.get_context('spawn')"
        )
    if getattr(_here, "is_gl_thread", False):
        return function(*args, **kwargs)
    _used = True
    return _executor.submit(function, *args, **kwargs).result()


def free_later(free: Callable[[], object]) -> None:
    """Frees what belongs to a context, soon; for finalizers, which may run in any thread at any time."""
    if _lost:
        # It is the parent's, and its driver would wait here for threads that the child has not.
        return
    # As the interpreter ends there is no thread for it any more, and the driver frees everything itself.
    with contextlib.suppress(RuntimeError):
        _executor.submit(free)


def _after_fork() -> None:
    global _lost
    mujoco_egl = sys.modules.get("mujoco.egl")
    _lost = _lost or _used or getattr(mujoco_egl, "EGL_DISPLAY", None) is not None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
