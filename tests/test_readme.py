"""The README's Python runs as it stands, block after block."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_code_of_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks, "the README has no Python"
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, block {number}", "exec"), {})
