from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import hwm_env  # noqa: F401  (registers the environments)

MakeEnv = Callable[..., gymnasium.Env[Any, Any]]
MakeVec = Callable[..., gymnasium.vector.VectorEnv[Any, Any, Any]]


@pytest.fixture
def make_env(tiny_checkpoint: Path) -> Iterator[MakeEnv]:
    """Makes environments from the tiny checkpoint and closes them after the test."""
    opened: list[gymnasium.Env[Any, Any]] = []

    def make(env_id: str = "HWM-v0", **arguments: Any) -> gymnasium.Env[Any, Any]:
        if env_id == "HWMReference-v0":
            # Not mujoco itself: it must be imported with a graphics back end chosen.
            rendering = pytest.importorskip("hwm_env.reference.rendering", exc_type=ImportError)
            if not rendering.can_render():
                pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
        env = gymnasium.make(env_id, **{"checkpoint": str(tiny_checkpoint), **arguments})
        opened.append(env)
        return env

    yield make
    for env in opened:
        env.close()


@pytest.fixture
def make_vec(tiny_checkpoint: Path, make_env: MakeEnv) -> Iterator[MakeVec]:
    """Makes vector environments from the tiny checkpoint and closes them after the test."""
    opened: list[gymnasium.vector.VectorEnv[Any, Any, Any]] = []

    def make(num_envs: int = 3, env_id: str = "HWM-v0", **arguments: Any) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        if env_id == "HWMReference-v0":
            make_env(env_id)  # skips if nothing can be rendered
        envs = gymnasium.make_vec(env_id, num_envs=num_envs, **{"checkpoint": str(tiny_checkpoint), **arguments})
        opened.append(envs)
        return envs

    yield make
    for envs in opened:
        envs.close()


@pytest.fixture(params=["HWM-v0", "HWMReference-v0"])
def env_id(request: pytest.FixtureRequest) -> str:
    """The environments of both worlds, one after the other."""
    return str(request.param)


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opens windows on a display without output."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
