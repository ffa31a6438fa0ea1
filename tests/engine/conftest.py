import logging
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a directory of converted functions that the tests share."""
    return tmp_path_factory.mktemp("engine_cache")


@pytest.fixture(autouse=True)
def _use_cache(engine_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWM_CACHE", str(engine_cache))


@pytest.fixture(autouse=True)
def _no_traces(caplog: pytest.LogCaptureFixture) -> None:
    """Keeps pytest from collecting the thousands of records of PyTorch's exporter."""
    caplog.set_level(logging.WARNING, logger="torch.__trace")
