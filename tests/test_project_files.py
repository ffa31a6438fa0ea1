"""The files for those who carry the project on: what they name exists, and all state one version."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.oldest import oldest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_named_targets_exist(page: str) -> None:
    named = re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)", text_of(page), flags=re.MULTILINE)
    assert named
    for target in named:
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE), f"{page} names make {target}"


@pytest.mark.parametrize("page", PAGES)
def test_named_programs_exist(page: str) -> None:
    for module in re.findall(r"python -m ([a-z_][\w.]*)", text_of(page)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{page} names {module}"


def test_the_continuous_integration_runs_one_script() -> None:
    workflow = text_of(".github/workflows/ci.yml")
    assert "- run: .ci/run\n" in workflow
    assert f'python-version: "{PROJECT["requires-python"].removeprefix(">=")}"' in workflow
    for script in re.findall(r"^\.ci/(\w+)$", text_of(".ci/run"), flags=re.MULTILINE):
        assert (ROOT / ".ci" / script).stat().st_mode & 0o111, f".ci/{script} is not executable"


def test_the_citation_states_the_packages_version_and_licence() -> None:
    stated = dict(re.findall(r"^([a-z-]+): (.+)$", text_of("CITATION.cff"), flags=re.MULTILINE))
    assert (stated["version"], stated["license"]) == (PROJECT["version"], PROJECT["license"])
    assert PROJECT["version"] in text_of("CHANGELOG.md")


def test_the_lock_file_has_one_exact_version_of_each_dependency() -> None:
    lines = [line for line in text_of("constraints.txt").splitlines() if not line.startswith("#")]
    locked = [re.fullmatch(r"([\w.-]+)==[\w.]+", line) for line in lines]
    assert all(locked), "expected lines NAME==VERSION, without paths, editable packages or local versions"
    names = [normalised(line[1]) for line in locked if line is not None]
    assert len(names) == len(set(names))
    wanted = [
        *PROJECT["dependencies"],
        *(line for lines in PROJECT["optional-dependencies"].values() for line in lines),
    ]
    needed = {normalised(re.split(r"[\[>]", requirement)[0]) for requirement in wanted} - {"hwm-env"}
    assert needed <= set(names), f"run make lock: {needed - set(names)}"


def test_each_dependency_has_an_oldest_release() -> None:
    pinned = dict(line.split("==") for line in oldest())
    assert pinned["gymnasium"] == "1.1"
    assert {"mujoco", "stable-baselines3", "pillow"} <= set(pinned)
    assert not {"pytest", "hwm-env"} & set(pinned)
