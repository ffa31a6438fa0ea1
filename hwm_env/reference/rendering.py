"""Offscreen rendering of a MuJoCo camera: the choice of a GL back end and anti-aliased small pictures."""

import functools
from types import TracebackType
from typing import Final, Self

import numpy as np

from hwm_env.errors import HWMError, InvalidInputError
from hwm_env.reference.backend import GL_BACKEND, mujoco
from hwm_env.types import UInt8Array

MIN_IMAGE_SIZE: Final = 16
MAX_IMAGE_SIZE: Final = 512


class RenderingUnavailableError(HWMError, RuntimeError):
    """MuJoCo cannot make an OpenGL context on this machine."""


class CameraRenderer:
    """Draws one camera of a model, at twice the size and averaged down: smooth edges cost fewer tokens.

    Args:
        model: the MuJoCo model; its offscreen buffer is resized.
        camera: name of the camera.
        image_size: height and width of a picture in pixels, 16 to 512.

    Raises:
        InvalidInputError: the size is out of range.
        RenderingUnavailableError: there is no OpenGL here.
    """

    def __init__(self, model: mujoco.MjModel, camera: str, image_size: int) -> None:
        if not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
            raise InvalidInputError(f"image_size must be {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} pixels; got {image_size}")
        drawn = 2 * image_size
        model.vis.global_.offwidth = model.vis.global_.offheight = drawn
        self._camera = camera
        self._drawn = np.empty((drawn, drawn, 3), np.uint8)
        # A missing or broken driver surfaces as anything from AttributeError (no library) to mujoco.FatalError.
        try:
            self._renderer = mujoco.Renderer(model, drawn, drawn)
        except Exception as error:
            raise RenderingUnavailableError(
                f"MuJoCo cannot render with MUJOCO_GL={GL_BACKEND!r} ({error!r}); set MUJOCO_GL=egl before mujoco is "
                "first imported and install the Debian packages libegl1 libegl-mesa0 libgl1-mesa-dri; "
                "or MUJOCO_GL=osmesa with libosmesa6"
            ) from error
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[effect] = False

    def render(self, data: mujoco.MjData) -> UInt8Array:
        """Draws the scene as it stands in `data`.

        Returns:
            RGB picture, uint8 [S, S, 3].
        """
        self._renderer.update_scene(data, self._camera)
        self._renderer.render(out=self._drawn)
        return _halved(self._drawn)

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._renderer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _halved(image: UInt8Array) -> UInt8Array:
    """The mean of each 2 x 2 block, rounded; adding slices is faster than a reduction over axes."""
    rows = image[0::2].astype(np.uint16) + image[1::2]
    total = rows[:, 0::2] + rows[:, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


@functools.cache
def can_render() -> bool:
    """Whether MuJoCo can make an OpenGL context here; tried once a process."""
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><geom size='1'/><camera name='eye' pos='3 0 0'/></worldbody></mujoco>"
    )
    try:
        with CameraRenderer(model, "eye", MIN_IMAGE_SIZE) as renderer:
            renderer.render(mujoco.MjData(model))
    except RenderingUnavailableError:
        return False
    return True
