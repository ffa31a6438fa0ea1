"""Offscreen rendering of a MuJoCo camera to small anti-aliased images."""

import functools
import weakref
from typing import Any, Final

import numpy as np

from hwm_env.errors import InvalidInputError
from hwm_env.reference.backend import GL_BACKEND, mujoco
from hwm_env.reference.opengl import ClosedOnExit, RenderingUnavailableError, free_later, in_gl_thread
from hwm_env.types import UInt8Array

__all__ = ["MAX_IMAGE_SIZE", "MIN_IMAGE_SIZE", "CameraRenderer", "RenderingUnavailableError", "can_render"]

MIN_IMAGE_SIZE: Final = 16
MAX_IMAGE_SIZE: Final = 512


_open: Final[set[mujoco.Renderer]] = set()
"""Renderers that are not freed yet. A forked child keeps those of its parent, since freeing them would hang it."""


class CameraRenderer(ClosedOnExit):
    """Renders one camera of a model at twice the size and averages it down: smooth edges cost fewer tokens.

    Opens an OpenGL context on the first call of `render`. May be used from any thread, copied and pickled; copies open
    their own context.

    Args:
        model: the MuJoCo model; its offscreen buffer is resized.
        camera: name of the camera.
        image_size: height and width of an image in pixels, 16 to 512.

    Raises:
        InvalidInputError: `image_size` is out of range.
    """

    def __init__(self, model: mujoco.MjModel, camera: str, image_size: int) -> None:
        if not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
            raise InvalidInputError(f"image_size must be {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} pixels, got {image_size}")
        drawn = 2 * image_size
        model.vis.global_.offwidth = model.vis.global_.offheight = drawn
        self._model = model
        self._camera = camera
        self._drawn = np.empty((drawn, drawn, 3), np.uint8)
        self._renderer: mujoco.Renderer | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state without the OpenGL context."""
        return {**self.__dict__, "_renderer": None, "_finalizer": None}

    def render(self, data: mujoco.MjData) -> UInt8Array:
        """Renders the model in the state of `data`.

        Returns:
            RGB image, uint8 [S, S, 3].

        Raises:
            RenderingUnavailableError: there is no OpenGL on this machine.
        """
        return in_gl_thread(self._render, data)

    def close(self) -> None:
        """Frees the OpenGL context; the next call of `render` opens another one."""
        if self._finalizer is not None:
            self._finalizer()
        self._renderer = self._finalizer = None

    def _render(self, data: mujoco.MjData) -> UInt8Array:
        if self._renderer is None:
            self._renderer = _opened(self._model, len(self._drawn))
            self._finalizer = weakref.finalize(self, free_later, functools.partial(_freed, self._renderer))
            # The OpenGL thread ends before finalizers run at the end of the process.
            self._finalizer.atexit = False
        self._renderer.update_scene(data, self._camera)
        self._renderer.render(out=self._drawn)
        return _halved(self._drawn)


def _opened(model: mujoco.MjModel, size: int) -> mujoco.Renderer:
    # A missing or broken driver surfaces as anything from AttributeError (no library) to mujoco.FatalError.
    try:
        renderer = mujoco.Renderer(model, size, size)
    except Exception as error:
        raise RenderingUnavailableError(
            f"MuJoCo cannot render with MUJOCO_GL={GL_BACKEND!r} ({error!r}); set MUJOCO_GL=egl before mujoco is "
            "first imported and install the Debian packages libegl1 libegl-mesa0 libgl1-mesa-dri; "
            "or MUJOCO_GL=osmesa with libosmesa6"
        ) from error
    for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.scene.flags[effect] = False
    _open.add(renderer)
    return renderer


def _freed(renderer: mujoco.Renderer) -> None:
    _open.discard(renderer)
    renderer.close()


def _halved(image: UInt8Array) -> UInt8Array:
    """Returns the rounded mean of each 2 x 2 block; adding slices is faster than a reduction over axes."""
    rows = image[0::2].astype(np.uint16) + image[1::2]
    total = rows[:, 0::2] + rows[:, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


@functools.cache
def can_render() -> bool:
    """Returns whether MuJoCo can make an OpenGL context on this machine; the result is cached."""
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><geom size='1'/><camera name='eye' pos='3 0 0'/></worldbody></mujoco>"
    )
    try:
        with CameraRenderer(model, "eye", MIN_IMAGE_SIZE) as renderer:
            renderer.render(mujoco.MjData(model))
    except RenderingUnavailableError:
        return False
    return True
