from collections.abc import Iterator

import pytest

from hwm_env.reference.rendering import can_render
from hwm_env.reference.world import ReferenceWorld


@pytest.fixture
def needs_rendering() -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")


@pytest.fixture
def world(needs_rendering: None) -> Iterator[ReferenceWorld]:
    with ReferenceWorld(image_size=64) as opened:
        yield opened
