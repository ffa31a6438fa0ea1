"""What a recording tries one after the other, and software rendering in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwm_env.reference import fallbacks
from hwm_env.reference.fallbacks import recording_stages

RENDER = """
from OpenGL import GL
from hwm_env.reference.opengl import in_gl_thread
from hwm_env.reference.world import ReferenceWorld

with ReferenceWorld(16) as world:
    world.render()
    print(in_gl_thread(GL.glGetString, GL.GL_RENDERER).decode())
"""

needs_mesa = pytest.mark.skipif(fallbacks._software_rendering() is None, reason="Mesa's EGL is not installed")


@pytest.fixture
def vendors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fallbacks, "_VENDOR_FOLDERS", (tmp_path / "nothing", tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "10_nvidia.json").touch()
    return tmp_path


def test_fewer_workers_then_software(vendors: Path) -> None:
    mesa = vendors / "50_mesa.json"
    mesa.touch()
    stages = recording_stages(8)
    assert [stage.workers for stage in stages] == [8, 4, 2, 1, 8]
    assert [stage.description for stage in stages[2:4]] == ["2 workers", "1 worker"]
    assert all("__EGL_VENDOR_LIBRARY_FILENAMES" not in stage.environment for stage in stages[:-1])
    assert stages[-1].environment["__EGL_VENDOR_LIBRARY_FILENAMES"] == str(mesa)
    assert stages[-1].description.startswith("8 workers and software rendering")
    assert [stage.workers for stage in recording_stages(1)] == [1, 1]


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_there_is_no_software_without_mesa(vendors: Path, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    if platform != "linux":
        (vendors / "50_mesa.json").touch()
    assert [stage.workers for stage in recording_stages(3)] == [3, 1]


def test_a_chosen_number_of_threads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LP_NUM_THREADS", raising=False)
    assert {stage.environment["LP_NUM_THREADS"] for stage in recording_stages(2)} == {"1"}
    monkeypatch.setenv("LP_NUM_THREADS", "4")
    assert {stage.environment["LP_NUM_THREADS"] for stage in recording_stages(2)} == {"4"}


@pytest.mark.slow
@needs_mesa
def test_software_renders_whatever_device_was_chosen() -> None:
    software = recording_stages(1)[-1].environment
    # A device that Mesa does not have.
    environment = {**os.environ, "MUJOCO_EGL_DEVICE_ID": "7", **software}
    environment = {name: value for name, value in environment.items() if value is not None}
    done = subprocess.run([sys.executable, "-c", RENDER], env=environment, capture_output=True, text=True, check=False)
    assert "llvmpipe" in done.stdout, done.stderr
