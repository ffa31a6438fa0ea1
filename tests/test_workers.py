"""Worker processes: results, errors, and their end when the parent is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwm_env.errors import HWMError, InvalidInputError
from hwm_env.workers import run_in_processes

pytestmark = pytest.mark.slow

fcntl = pytest.importorskip("fcntl")

DEADLINE_S = 120.0
"""Reached only if something hangs."""


def until(happened) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < end_s, "it does not happen"
        time.sleep(0.01)


def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize(
    ("kind", "without_kernel"),
    [
        ("pool", ""),
        ("pool", "yes"),
        ("supervised", ""),
        ("supervised", "yes"),
        ("module", "yes"),
        # The launcher, which is PyTorch's, and its trainings.
        pytest.param("launcher", "", marks=pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it")),
    ],
)
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, kind: str, without_kernel: str) -> None:
    paths = [tmp_path / "first", tmp_path / "second"]
    command = [sys.executable, "-m", "tests.waiting", kind, *map(str, paths)]
    environment = {**os.environ, "WITHOUT_KERNEL": without_kernel, "OMP_NUM_THREADS": "1"}
    parent = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    until(lambda: parent.poll() is not None or all(path.exists() and path.read_text() for path in paths))
    assert parent.poll() is None, "the parent ended by itself"
    assert all(is_locked(path) for path in paths)
    parent.kill()
    parent.wait()
    until(lambda: not any(is_locked(path) for path in paths))


def half(number: int) -> float:
    if number == 13:
        os._exit(1)
    if number % 2:
        raise InvalidInputError(f"{number} is odd")
    return number / 2


def test_results_and_errors() -> None:
    assert sorted(run_in_processes(half, [2, 4, 6], 8)) == [1, 2, 3]
    with pytest.raises(InvalidInputError, match="7 is odd"):
        list(run_in_processes(half, [7], 1))
    with pytest.raises(HWMError, match=r"a worker process died .* fewer workers"):
        list(run_in_processes(half, [13], 1))
