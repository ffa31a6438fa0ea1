"""The README and the pages of the documentation, and the blocks of code in them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
MODEL_CARD = "hwm_env/assets/room-64/README.md"
PAGES = [
    path.relative_to(ROOT).as_posix() for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
]
"""Paths from the root of the repository."""


class Block(NamedTuple):
    """A block of code between ``` fences."""

    language: str
    """The word after the fence, such as "python"; "" if there is none."""
    file: str | None
    """Name of the file that a reader is to put it into, `title="..."` after the language."""
    code: str
    """The lines."""


def text_of(page: str) -> str:
    """Returns the text of a page, by its path from the root of the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str, *languages: str) -> list[Block]:
    """Returns the blocks of a page in these languages."""
    found = re.findall(r'^```(\w*)(?: title="([^"\n]+)")?\n(.*?)^```$', text_of(page), flags=re.DOTALL | re.MULTILINE)
    return [Block(language, file or None, code) for language, file, code in found if language in languages]
