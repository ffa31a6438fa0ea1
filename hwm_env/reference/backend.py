"""Imports MuJoCo with an OpenGL back end; without a working one, everything but rendering works."""

import importlib
import os
import sys

from hwm_env.errors import require_extra

__all__ = ["GL_BACKEND", "mujoco"]


def _import_mujoco() -> str:
    """Imports MuJoCo and returns the requested back end.

    MuJoCo reads MUJOCO_GL once, on its first import, and imports the back end then: without the graphics libraries this
    can fail with any exception.
    """
    if sys.platform == "linux" and "mujoco" not in sys.modules:
        os.environ.setdefault("MUJOCO_GL", "egl")
    wanted = os.environ.get("MUJOCO_GL", "")
    try:
        importlib.import_module("mujoco")
    except Exception:
        # Without a back end the import works, unless MuJoCo itself is missing.
        os.environ["MUJOCO_GL"] = "disable"
        try:
            require_extra("mujoco", "reference")
        finally:
            os.environ["MUJOCO_GL"] = wanted
    return wanted


GL_BACKEND = _import_mujoco()
"""The requested OpenGL back end; "" leaves the choice to MuJoCo."""

import mujoco  # noqa: E402
