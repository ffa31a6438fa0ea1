"""Fills the tables of README, model card and docs with what the JSON files in docs/results contain.

A table stands between `<!-- table NAME -->` and `<!-- end -->`. Nobody types its numbers: after a new measurement,

python -m docs.studies.tables
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from docs.studies.cells import Rows
from docs.studies.result_tables import TABLES
from hwm_env.data.files import read_json, write_bytes
from hwm_env.errors import InvalidInputError

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "docs" / "results"
PAGES: Final = (
    ROOT / "README.md",
    ROOT / "hwm_env" / "assets" / "room-64" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
_BLOCK: Final = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def filled(text: str) -> str:
    """Returns a page with tables made anew.

    Raises:
        InvalidInputError: a table is unknown, or a file of results is missing or damaged.
    """
    return _BLOCK.sub(lambda block: f"{block[1]}\n{table(block[2])}\n\n{block[3]}", text)


def tables_of(text: str) -> list[str]:
    """Returns the names of a page's tables."""
    return [block[2] for block in _BLOCK.finditer(text)]


def table(name: str) -> str:
    """Returns a table as Markdown.

    Raises:
        InvalidInputError: the table is unknown, or a file of results is missing or damaged.
    """
    if name not in TABLES:
        raise InvalidInputError(f"there is no table {name!r}; choose one of {sorted(TABLES)}")
    return markdown(TABLES[name].rows(*map(result, TABLES[name].sources)))


def markdown(rows: Rows) -> str:
    """Returns rows, the head first, as Markdown."""
    head, *others = rows
    return "\n".join(map(_line, [head, ["---"] * len(head), *others]))


def result(name: str) -> dict[str, Any]:
    """Returns the content of a file in docs/results.

    Raises:
        InvalidInputError: the file is missing or damaged.
    """
    return read_json(RESULTS / f"{name}.json", InvalidInputError)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Fills the tables of all pages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            write_bytes(page, filled(text).encode())
            print(f"filled {', '.join(tables_of(text))} in {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
