"""The three rooms of `hwm_env.evaluation` import each other in one direction.

Files whose names end in "_run" are workflows of the command line, which may use all rooms.
"""

import ast
from pathlib import Path

import pytest

from hwm_env import evaluation

ROOT = Path(evaluation.__file__).parent
ORDER = ["worlds", "policies", "reports"]
"""A room may import itself and those before it."""


SOURCES = sorted(path for room in ORDER for path in (ROOT / room).glob("*.py") if not path.stem.endswith("_run"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.relative_to(ROOT).as_posix())
def test_rooms_import_one_way(source: Path) -> None:
    allowed = ORDER[: ORDER.index(source.parent.name) + 1]
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            parts = node.module.split(".")
            if parts[:2] == ["hwm_env", "evaluation"] and parts[2] in ORDER:
                assert parts[2] in allowed, f"{source.name} imports {node.module}"
