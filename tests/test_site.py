"""The documentation site is built without a warning, and has what its hooks add."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwm_env.cli.commands import COMMANDS
from tests.pages import ROOT

pytest.importorskip("material", reason="the extra docs is not installed")
pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    commands = (site / "reference/commands.html").read_text(encoding="utf-8")
    assert all(f"usage: hwm-env {name} [-h]" in commands for name in COMMANDS)
    assert 'id="hwm_env.simulator.WorldSimulator.step"' in (site / "reference/simulator.html").read_text()
    assert '<pre class="mermaid">' in (site / "architecture.html").read_text()
    assert 'href="room-64.html"' in (site / "scene.html").read_text()
    assert 'href="scene.html"' in (site / "room-64.html").read_text()
    assert not list(site.rglob("*.py"))
