"""The Makefile's commands of tests select by markers that exist, and each selects more than the one before."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
MARKERS = {line.partition(":")[0] for line in DECLARED} - {"cuda"}
"""Without those tests that are skipped by themselves where they cannot run."""
MAKEFILE = (ROOT / "Makefile").read_text()


def left_out(target: str) -> set[str]:
    """Returns the markers of the tests that a target does not run."""
    found = re.search(rf'^{target}:.*\n(?:\t.*\n)*?\t.*-m "([^"]+)"', MAKEFILE, flags=re.MULTILINE)
    assert found is not None, target
    parts = found[1].split(" and ")
    assert all(part.startswith("not ") for part in parts), found[1]
    return {part.removeprefix("not ") for part in parts}


def test_each_command_runs_more_than_the_one_before() -> None:
    assert left_out("test-fast") == MARKERS == {"slow", "exhaustive", "benchmark"}
    assert left_out("test") == {"exhaustive", "benchmark"}
    assert left_out("test-all") == {"benchmark"}


@pytest.mark.parametrize("target", ["test-fast", "test", "test-all", "test-cuda"])
def test_the_commands_are_documented(target: str) -> None:
    assert f"`make {target}`" in (ROOT / "docs/architecture.md").read_text()
