"""OpenGL across threads and forks: contexts belong to a thread of their own, and are opened when something is drawn."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import mujoco
import numpy as np
import pytest

from hwm_env.reference import opengl
from hwm_env.reference.kinematics import RobotState
from hwm_env.reference.world import ReferenceWorld


def in_thread(call: Callable[[], object]) -> object:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def test_a_world_can_be_drawn_and_closed_from_any_thread(world: ReferenceWorld) -> None:
    here = world.render()
    np.testing.assert_array_equal(in_thread(world.render), here)
    in_thread(world.close)
    np.testing.assert_array_equal(world.render(), here)


def test_threads_do_not_get_each_others_pictures(world: ReferenceWorld) -> None:
    states = [RobotState(np.array([0.0, 0.0, yaw]), world.state.action) for yaw in np.linspace(0, 3, 4)]
    expected = [world.draw(state) for state in states]
    wrong: list[int] = []

    def draw(index: int) -> None:
        wrong.extend(index for _ in range(10) if (world.draw(states[index]) != expected[index]).any())

    threads = [threading.Thread(target=draw, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_drawing_raises_comes_back(needs_rendering: None) -> None:
    with pytest.raises(ZeroDivisionError):
        opengl.in_gl_thread(lambda: 1 // 0)


def test_a_context_that_somebody_else_has_made_current_stays_so(world: ReferenceWorld) -> None:
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    with mujoco.Renderer(model, 64, 64) as renderer:
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        renderer.update_scene(data)
        before = renderer.render()
        world.close()
        world.render()
        # Without making its context current again, as others' loops do.
        rect, picture = mujoco.MjrRect(0, 0, 64, 64), np.empty((64, 64, 3), np.uint8)
        mujoco.mjr_render(rect, renderer.scene, renderer._mjr_context)
        mujoco.mjr_readPixels(picture, None, rect, renderer._mjr_context)
    np.testing.assert_array_equal(picture[::-1], before)


FORKED = """
import os, sys
from hwm_env.reference.rendering import RenderingUnavailableError
from hwm_env.reference.world import ReferenceWorld

draws_before, = sys.argv[1:]
world = ReferenceWorld(64)
if draws_before == "True":
    world.render()
child = os.fork()
if child == 0:
    try:
        print("drew", world.render().shape, flush=True)
    except RenderingUnavailableError as error:
        print(error, flush=True)
    world.close()
    del world
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("parent", world.render().shape)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.parametrize(
    ("draws_before", "expected"),
    [
        pytest.param(False, "drew (64, 64, 3)", id="not drawn yet"),
        pytest.param(True, "forked from one that had drawn with OpenGL", id="drawn before"),
    ],
)
def test_a_forked_child_draws_or_says_why_not(needs_rendering: None, draws_before: bool, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(draws_before)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert "parent (64, 64, 3)" in done.stdout
    assert done.stderr == ""


def test_a_process_ends_quietly_with_worlds_that_nobody_closed(needs_rendering: None) -> None:
    code = (
        "from hwm_env.reference.world import ReferenceWorld\n"
        "world, other = ReferenceWorld(64), ReferenceWorld(64)\n"
        "world.render(), other.render()\n"
        "del other"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
