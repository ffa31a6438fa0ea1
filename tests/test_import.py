"""What importing the package does, and which parts may import which."""

import ast
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import pytest

import hwm_env
from hwm_env import errors
from hwm_env.errors import HWMError

PACKAGE = Path(hwm_env.__file__).parent
SOURCES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
ORDER = [
    "types",
    "errors",
    "fields",
    "robot",
    "arguments",
    "precision",
    "torch_state",
    "building",
    "parallel",
    "devices",
    "draws",
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
    "tokenizing",
    "simulator_input",
    "world_state",
    "engine",
    "simulator",
    "reporting",
    "replay",
    "tasks",
    "remote",
    "envs",
    "policy",
    "service",
    "evaluation",
    "training",
    "importing",
    "exporting",
    "cli",
    "__main__",
]
"""A part may import itself and those above it."""
ABOUT_THE_REFERENCE_WORLD = (
    "reference/",
    "envs/ground_truth.py",
    "envs/kinematics.py",  # checkpoints do not state their robot
    "envs/reference_env.py",  # through ground_truth
    "evaluation/",
    "importing.py",  # limits of the robot, as stand-ins for statistics
    "tasks/drive_to_target.py",
    "tasks/face_target.py",
    "tasks/look_at.py",
    "tasks/reach_cube.py",
    "training/readout",
)
"""Beginnings of the paths of all files that may import the reference world; the other files are generic."""
PLANNERS = PACKAGE.parent / "policies" / "planners"


@cache
def imported_by(source: str | Path) -> list[str]:
    """Full names of all modules that a file of the package imports, also inside functions."""
    imported = []
    for node in ast.walk(ast.parse((PACKAGE / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source} has a relative import"
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    return imported


def modules_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(done.stdout.split())


def test_importing_the_package_is_light() -> None:
    assert not modules_after("import hwm_env") & {"torch", "mujoco", "pygame", "safetensors"}


@pytest.mark.slow
def test_the_learned_world_needs_no_extra() -> None:
    modules = modules_after("import hwm_env.envs.world_model_env, hwm_env.envs.rendering")
    assert "torch" in modules
    assert not modules & {"mujoco", "pygame", "stable_baselines3", "imageio", "PIL"}


@pytest.mark.slow
def test_making_an_environment_does_not_import_the_compiler() -> None:
    """PyTorch's compiler, which needs SymPy, would add a second."""
    modules = modules_after("import gymnasium, hwm_env; gymnasium.make('HWM-v0').reset(seed=0)")
    assert "torch" in modules
    assert "sympy" not in modules


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "spins"),
    [
        ("", "1000"),
        ("import torch", None),
        ("os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'", None),
        ("os.environ['GOMP_SPINCOUNT'] = '7'", "7"),
    ],
)
def test_threads_spin_for_a_short_time_unless_the_user_has_chosen(before: str, spins: str | None) -> None:
    code = f"import os\n{before}\nimport hwm_env\nprint(os.environ.get('GOMP_SPINCOUNT'))"
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == str(spins)


@pytest.mark.parametrize("name", hwm_env.__all__)
def test_public_names_resolve(name: str) -> None:
    if name.startswith("HumanoidReference"):
        pytest.importorskip("mujoco")
    assert getattr(getattr(hwm_env, name), "__name__", name) == name
    assert name in dir(hwm_env)


def test_all_errors_are_public() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, HWMError)}
    assert defined <= set(hwm_env.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="HumanoidWorldModelEnvironment"):
        hwm_env.HumanoidWorldModelEnvironment  # noqa: B018


def test_environments_are_registered() -> None:
    assert "HWM-v0" in gymnasium.registry
    assert ("HWMReference-v0" in gymnasium.registry) == (find_spec("mujoco") is not None)


def test_every_part_has_its_place_in_the_order() -> None:
    assert {Path(source).parts[0].removesuffix(".py") for source in SOURCES} - {"__init__"} <= set(ORDER)


def test_imports_go_one_way() -> None:
    for source in SOURCES:
        part = Path(source).parts[0].removesuffix(".py")
        for name in imported_by(source):
            top, *rest = name.split(".")
            assert top not in ("policies", "demos", "docs"), f"{source} imports {name}"
            if top == "hwm_env" and part != "__init__":
                assert ORDER.index(rest[0]) <= ORDER.index(part), f"{source} imports {name}"


def test_generic_parts_do_not_import_the_reference_world() -> None:
    generic = [source for source in SOURCES if not source.startswith(ABOUT_THE_REFERENCE_WORLD)]
    for source in (*generic, *PLANNERS.glob("*.py")):
        assert not {name for name in imported_by(source) if name.startswith("hwm_env.reference")}, source


@pytest.mark.parametrize("beginning", ABOUT_THE_REFERENCE_WORLD)
def test_what_may_import_the_reference_world_does(beginning: str) -> None:
    sources = [source for source in SOURCES if source.startswith(beginning)]
    imported = {name for source in sources for name in imported_by(source)}
    assert any(name.startswith(("hwm_env.reference", "hwm_env.envs.ground_truth")) for name in imported)


def test_data_needs_no_torch() -> None:
    for source in (source for source in SOURCES if source.startswith("data/")):
        assert not {name for name in imported_by(source) if name.startswith(("torch", "safetensors"))}, source
