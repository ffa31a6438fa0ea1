"""The Python of the README and of the pages of the documentation runs unchanged."""

from pathlib import Path
from typing import Any

import pytest

from hwm_env.reference.rendering import can_render
from tests.pages import PAGES, blocks_of

pytestmark = pytest.mark.slow

WITH_TESTS_OF_THEIR_OWN = {
    "docs/service.md",  # tests/service/test_serving.py, with a service
    "docs/tutorials/recordings.md",  # tests/test_page_commands.py, after its commands
}
ALONE = {"README.md"}
"""Pages of which each block runs alone; on the others, a block knows the names of those before."""


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks_of(page, "python") and page not in WITH_TESTS_OF_THEIR_OWN]
)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of(page, "python")
    if any("HWMReference-v0" in block.code for block in blocks) and not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        if block.file is not None:
            Path(block.file).write_text(block.code, encoding="utf-8")
        exec(compile(block.code, f"{page}, block {number}", "exec"), {} if page in ALONE else names)


def test_every_tutorial_has_code_that_runs() -> None:
    tutorials = [page for page in PAGES if page.startswith("docs/tutorials/")]
    assert len(tutorials) >= 7
    for page in ("README.md", "docs/index.md", "docs/environment.md", *tutorials):
        assert blocks_of(page, "python"), f"{page} has no Python"
