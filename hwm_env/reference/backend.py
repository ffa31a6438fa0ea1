"""MuJoCo, imported with an OpenGL back end chosen; where none works, all but rendering still does."""

import importlib
import os
import sys

from hwm_env.errors import require_extra

__all__ = ["GL_BACKEND", "mujoco"]


def _import_mujoco() -> str:
    """Imports MuJoCo and returns the back end that was asked for.

    MuJoCo reads MUJOCO_GL once, while it is first imported, and imports the back end along with itself: without the
    graphics libraries that can fail with any exception.
    """
    if sys.platform == "linux" and "mujoco" not in sys.modules:
        os.environ.setdefault("MUJOCO_GL", "egl")
    wanted = os.environ.get("MUJOCO_GL", "")
    try:
        importlib.import_module("mujoco")
    except Exception:
        # Without a back end the import works, unless it is MuJoCo itself that is missing.
        os.environ["MUJOCO_GL"] = "disable"
        try:
            require_extra("mujoco", "reference")
        finally:
            os.environ["MUJOCO_GL"] = wanted
    return wanted


GL_BACKEND = _import_mujoco()
"""The OpenGL back end that was asked for; "" leaves the choice to MuJoCo."""

import mujoco  # noqa: E402
