"""Fixtures of the tests of measures that draw the reference world."""

import pytest

from hwm_env.reference.rendering import can_render


@pytest.fixture
def needs_rendering() -> None:
    """Skips the test if MuJoCo cannot render."""
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
