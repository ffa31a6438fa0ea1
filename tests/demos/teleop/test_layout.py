"""The window's layout for all sizes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pygame")

from demos.teleop.layout import NARROWEST_PANEL, arrange

SIZES = st.tuples(st.integers(400, 4000), st.integers(300, 3000))


@given(SIZES, st.integers(1, 2), st.booleans())
def test_nothing_overlaps_or_leaves_the_window(size: tuple[int, int], count: int, shows_numbers: bool) -> None:
    layout = arrange(size, count, shows_numbers=shows_numbers)
    parts = [*layout.worlds, layout.footer, *([layout.panel] if layout.panel else [])]
    for box in parts:
        assert 0 <= box.left < box.right <= size[0]
        assert 0 <= box.top < box.bottom <= size[1]
    for one, other in itertools.combinations(parts, 2):
        assert not one.colliderect(other)
    assert len(layout.worlds) == count
    assert len({box.size for box in layout.worlds}) == 1
    assert all(box.width == box.height for box in layout.worlds)
    if layout.plan is not None:
        assert any(box.contains(layout.plan) for box in parts)


@given(SIZES, st.integers(1, 2))
def test_pictures_are_as_large_as_the_window_allows(size: tuple[int, int], count: int) -> None:
    layout = arrange(size, count, shows_numbers=False)
    first, last = layout.worlds[0], layout.worlds[-1]
    space = (size[0] - (last.right - first.left), layout.footer.top - (last.bottom - first.top))
    # Larger ones would leave the window on one side: 8 pixels around them, and 1 by rounding.
    assert min(space) <= 3 * 8 + 1


@pytest.mark.parametrize(
    ("size", "count", "shows_numbers", "columns", "has_panel"),
    [
        ((1280, 720), 1, False, 1, True),
        ((1280, 720), 2, False, 2, False),
        ((1280, 720), 2, True, 2, True),
        ((700, 1300), 2, False, 1, False),
        ((900, 1000), 1, False, 1, False),
        ((900, 1000), 1, True, 1, True),
    ],
)
def test_arrangements(size: tuple[int, int], count: int, shows_numbers: bool, columns: int, has_panel: bool) -> None:
    layout = arrange(size, count, shows_numbers=shows_numbers)
    assert len({box.left for box in layout.worlds}) == columns
    assert (layout.panel is not None) == has_panel
    assert layout.panel is None or layout.panel.width >= NARROWEST_PANEL
    assert layout.plan is not None
