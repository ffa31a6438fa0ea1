"""Everything that some pages name exists, and all links of all pages lead somewhere."""

import re
from collections.abc import Iterator

import pytest

import hwm_env
from tests.pages import MODEL_CARD, PAGES, ROOT, text_of

NAMING = ("docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md", "SECURITY.md")
ROOMS = ("hwm_env/", "policies/", "demos/", "docs/", "tests/")


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


@pytest.mark.parametrize("page", NAMING)
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


def test_the_reference_has_every_name_of_the_package() -> None:
    page = text_of("docs/reference/hwm_env.md")
    assert [name for name in hwm_env.__all__ if not re.search(rf"\b{name}\b", page)] == []


def anchors_of(page: str) -> set[str]:
    """Returns the anchors that code hosts and the site make of a page's headings."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_blocks(page), flags=re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchors.add(slug if slug not in anchors else f"{slug}-1")
    return anchors


def without_blocks(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES, MODEL_CARD])
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)", without_blocks(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        assert not anchor or anchor in anchors_of(target.relative_to(ROOT).as_posix()), f"{page} links to {link}"
