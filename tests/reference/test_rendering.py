import os
import subprocess
import sys

import mujoco
import pytest

from hwm_env.errors import HWMError, InvalidInputError
from hwm_env.reference import rendering

MODEL = "<mujoco><worldbody><geom size='1'/><camera name='eye' pos='3 0 0' xyaxes='0 1 0 0 0 1'/></worldbody></mujoco>"


@pytest.mark.parametrize("image_size", [0, 15, 513])
def test_sizes_out_of_range_are_refused(image_size: int) -> None:
    with pytest.raises(InvalidInputError, match=str(image_size)):
        rendering.CameraRenderer(mujoco.MjModel.from_xml_string(MODEL), "eye", image_size)


def test_without_opengl_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise mujoco.FatalError("an OpenGL platform library has not been loaded")

    monkeypatch.setattr(mujoco, "Renderer", fails)
    model = mujoco.MjModel.from_xml_string(MODEL)
    with pytest.raises(HWMError, match=r"libegl1 libegl-mesa0 libgl1-mesa-dri.*MUJOCO_GL=osmesa"):
        rendering.CameraRenderer(model, "eye", 64).render(mujoco.MjData(model))
    rendering.can_render.cache_clear()
    try:
        assert not rendering.can_render()
    finally:
        rendering.can_render.cache_clear()


BROKEN_LIBRARY = """
import sys, types

class Broken(types.ModuleType):
    def __getattr__(self, name):
        raise OSError("libEGL.so.1: cannot open shared object file")

sys.modules["mujoco.egl"] = Broken("mujoco.egl")
from hwm_env.reference import rendering
from hwm_env.reference.world import ReferenceWorld

assert not rendering.can_render()
try:
    ReferenceWorld().render()
except rendering.RenderingUnavailableError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="EGL is the back end of Linux alone")
def test_missing_graphics_libraries_do_not_break_the_import() -> None:
    environment = {**os.environ, "MUJOCO_GL": "egl"}
    command = [sys.executable, "-W", "error", "-c", BROKEN_LIBRARY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "MUJOCO_GL='egl'" in done.stdout
    assert "libegl1" in done.stdout


def test_edges_are_blended(needs_rendering: None) -> None:
    flat_light = "<mujoco><visual><headlight ambient='1 1 1' diffuse='0 0 0' specular='0 0 0'/></visual>"
    tilted_box = "type='box' size='0.5 0.5 0.5' euler='20 0 0' rgba='1 1 1 1'"
    model = mujoco.MjModel.from_xml_string(MODEL.replace("<mujoco>", flat_light).replace("size='1'", tilted_box))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with rendering.CameraRenderer(model, "eye", 64) as renderer:
        levels = renderer.render(data)[..., 0]
    assert (levels == 0).mean() > 0.3
    assert (levels == levels.max()).mean() > 0.2
    assert 40 < ((levels > 10) & (levels < levels.max() - 10)).sum() < 200
