"""Measures env steps beside other work, and the time until the first one; asserts nothing: `make bench`."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark

START = """
import time
began = time.perf_counter()
import hwm_env
imported = time.perf_counter()
import gymnasium
gymnasium.make("HWM-v0").reset(seed=0)
print(imported - began, time.perf_counter() - imported)
"""


@pytest.mark.parametrize(
    ("threads", "environment"),
    [(0, {"GOMP_SPINCOUNT": "1000"}), (1, {}), (0, {"GOMP_SPINCOUNT": "0"}), (0, {"GOMP_SPINCOUNT": "300000"})],
    ids=["as set by hwm_env", "one thread", "no spins", "as without hwm_env"],
)
def test_an_env_step_beside_busy_processes(threads: int, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.busy", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    free, one, all_cores = (float(number) for number in done.stdout.split())
    print(
        f"\n{threads or 'default'} threads, {environment}: free {free:.0f} ms; beside one busy process {one:.0f} ms, "
        f"{one / free:.1f} times as long; beside one per core {all_cores:.0f} ms, {all_cores / free:.1f}"
    )


def test_import_make_and_reset() -> None:
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)
        times.append([float(number) for number in done.stdout.split()])
    imported, made = (min(column) for column in zip(*times, strict=True))
    print(f"\nimport hwm_env {imported:.2f} s, make and reset with the import of PyTorch {made:.2f} s")
