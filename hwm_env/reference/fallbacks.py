"""What a recording tries when workers fail: fewer of them, then software rendering."""

import os
import sys
from pathlib import Path
from typing import Final

from hwm_env.reference.supervision import Stage

_VENDOR_FOLDERS: Final = (Path("/etc/glvnd/egl_vendor.d"), Path("/usr/share/glvnd/egl_vendor.d"))
"""Where libglvnd looks for the EGL drivers of a machine."""


def recording_stages(workers: int) -> list[Stage]:
    """Returns ways to record, in the order in which they are tried.

    The first is the one that was asked for. Half as many workers follow, down to one, because drivers for GPUs can hang
    when several processes draw at once; then all of them without the GPU, if Mesa's EGL is installed.

    Args:
        workers: number of processes, at least 1.
    """
    # Mesa's software renderer would start a thread for each core in each process; one thread a process is faster.
    common = {"LP_NUM_THREADS": os.environ.get("LP_NUM_THREADS", "1")}
    numbers = [workers]
    while numbers[-1] > 1:
        numbers.append(numbers[-1] // 2)
    stages = [Stage(_counted(number), number, common) for number in numbers]
    software = _software_rendering()
    if software is not None:
        description = f"{_counted(workers)} and software rendering, whose images can differ slightly from a GPU's"
        stages.append(Stage(description, workers, {**common, **software}))
    return stages


def _counted(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


def _software_rendering() -> dict[str, str | None] | None:
    """Returns the environment in which MuJoCo renders with Mesa's llvmpipe; `None` if that is not installed."""
    if sys.platform != "linux":
        return None
    found = [path for folder in _VENDOR_FOLDERS for path in sorted(folder.glob("*mesa*.json"))]
    if not found:
        return None
    return {
        "MUJOCO_GL": "egl",
        "PYOPENGL_PLATFORM": "egl",
        # Libglvnd would load the driver of the GPU first.
        "__EGL_VENDOR_LIBRARY_FILENAMES": str(found[0]),
        # Mesa has drivers for GPUs too.
        "LIBGL_ALWAYS_SOFTWARE": "1",
        # It counts the devices of the other driver.
        "MUJOCO_EGL_DEVICE_ID": None,
    }
