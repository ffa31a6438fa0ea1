"""The Python blocks of the README and of the page about the environment run unchanged."""

import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def blocks_of(page: str) -> list[str]:
    """Returns the Python blocks of a page."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks, f"{page} has no Python"
    return blocks


def test_the_code_of_the_readme_runs() -> None:
    for number, block in enumerate(blocks_of("README.md")):
        exec(compile(block, f"README.md, block {number}", "exec"), {})


def test_the_code_about_the_environment_runs() -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks_of("docs/environment.md")):
        exec(compile(block, f"docs/environment.md, block {number}", "exec"), names)
