"""Everything that the architecture page, the glossary and the pages for contributors name exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md", "SECURITY.md")
ROOMS = ("hwm_env/", "policies/", "demos/", "docs/", "tests/")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def named_in(page: str) -> Iterator[tuple[str, str]]:
    """Yields each path in backticks, from the repository's root, and the name in that file, if one is given."""
    for path, name in re.findall(r"`([\w./-]+/[\w./-]*)(?::(\w+))?`", text_of(page)):
        if path.startswith(ROOMS):
            yield path, name


def paths_of_tree(page: str) -> Iterator[str]:
    """Yields the paths of the annotated tree, whose lines are indented by two spaces for each level."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), flags=re.DOTALL | re.MULTILINE)
    (tree,) = [block for language, block in blocks if not language]
    parents: list[str] = []
    for line in tree.splitlines():
        name, level = line.split()[0], (len(line) - len(line.lstrip())) // 2
        parents[level:] = [name]
        yield "".join(parents)


@pytest.mark.parametrize("page", PAGES)
def test_named_files_and_definitions_exist(page: str) -> None:
    named = list(named_in(page))
    assert named
    for path, name in named:
        assert (ROOT / path).exists(), f"{page} names {path}"
        if name:
            defined = re.search(rf"^(class|def) {name}\b|^{name}\b.* =", (ROOT / path).read_text(), flags=re.MULTILINE)
            assert defined, f"{page} names {name} in {path}"


def test_the_tree_exists() -> None:
    paths = list(paths_of_tree("docs/architecture.md"))
    assert len(paths) > 50
    for path in paths:
        assert (ROOT / path).exists(), f"docs/architecture.md names {path}"


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page)):
        if not link.startswith("http"):
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page} links to {link}"
