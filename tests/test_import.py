"""What importing the package does, and the direction in which its parts import each other."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import pytest

import hwm_env

PACKAGE = Path(hwm_env.__file__).parent
SOURCES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
ORDER = [
    "types",
    "errors",
    "fields",
    "precision",
    "torch_state",
    "devices",
    "workers",
    "data",
    "reference",
    "tokenizers",
    "model",
    "decoding",
    "scene",
    "starts",
    "trust",
    "weight_files",
    "hub",
    "model_card",
    "checkpoint",
    "simulator_input",
    "world_state",
    "simulator",
    "replay",
    "tasks",
    "envs",
    "policy",
    "evaluation",
    "training",
    "importing",
    "cli",
    "__main__",
]
"""A part may import itself and those above it."""


def imported_by(source: str) -> Iterator[str]:
    """Full names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse((PACKAGE / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source} has a relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def modules_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(done.stdout.split())


def test_importing_the_package_is_light() -> None:
    assert not modules_after("import hwm_env") & {"torch", "mujoco", "pygame", "safetensors"}


def test_the_learned_world_needs_no_extra() -> None:
    modules = modules_after("import hwm_env.envs.world_model_env, hwm_env.envs.rendering")
    assert "torch" in modules
    assert not modules & {"mujoco", "pygame", "stable_baselines3", "imageio", "PIL"}


@pytest.mark.parametrize("name", hwm_env.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(hwm_env, name).__name__ == name
    assert name in dir(hwm_env)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="HumanoidWorldModelEnvironment"):
        hwm_env.HumanoidWorldModelEnvironment  # noqa: B018


def test_environments_are_registered() -> None:
    assert "HWM-v0" in gymnasium.registry
    assert ("HWMReference-v0" in gymnasium.registry) == (find_spec("mujoco") is not None)


def test_every_part_has_its_place_in_the_order() -> None:
    assert {Path(source).parts[0].removesuffix(".py") for source in SOURCES} - {"__init__"} <= set(ORDER)


@pytest.mark.parametrize("source", SOURCES)
def test_imports_go_one_way(source: str) -> None:
    part = Path(source).parts[0].removesuffix(".py")
    for name in imported_by(source):
        top, *rest = name.split(".")
        assert top not in ("policies", "demos", "docs"), f"{source} imports {name}"
        if top == "hwm_env" and part != "__init__":
            assert ORDER.index(rest[0]) <= ORDER.index(part), f"{source} imports {name}"


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("data/")])
def test_data_needs_no_torch(source: str) -> None:
    assert not {name for name in imported_by(source) if name.startswith(("torch", "safetensors"))}
