from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.servers import Server, serving


@pytest.fixture(scope="package")
def server(tiny_checkpoint: Path) -> Iterator[Server]:
    """A service of the tiny checkpoint with one decoding step."""
    with serving(tiny_checkpoint, decoding_steps=1, sessions=200) as running:
        yield running
