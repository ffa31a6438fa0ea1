"""Measures how fast samples are read, compared with plain memory-mapped reads of the same bytes: `make bench`.

Printed, not asserted. A sample is nine past clips and one future clip of 32 x 32 tokens with their actions: 140 kB.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks.reading import (
    forget,
    gathered,
    loaded,
    plain,
    plain_in_processes,
    samples_per_s,
    shuffled,
    write_files,
)
from tests.data.full_size import write_full_size

pytestmark = pytest.mark.benchmark

BATCH_SIZE, NUM_SAMPLES = 8, 4096
REPEATS = 3


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reader")
    write_files(path)
    return path


@pytest.mark.parametrize("state", ["dropped before each run", "holds all files"])
def test_samples_per_second(directory: Path, state: str) -> None:
    """Runs all readers in turns, and compares medians over the rounds."""
    batches = shuffled(BATCH_SIZE, NUM_SAMPLES)
    rate = partial(samples_per_s, num_samples=NUM_SAMPLES, num_batches=len(batches))
    readers: dict[str, Callable[[], float]] = {
        "plain, 1 process": lambda: rate(plain(directory, batches)),
        "plain, 2 processes": lambda: plain_in_processes(directory, batches, 2),
        **{f"read_ahead, {n} threads": partial(lambda n: rate(gathered(directory, batches, n)), n) for n in (0, 1, 2)},
        **{f"DataLoader, {n} processes": partial(lambda n: rate(loaded(directory, batches, n)), n) for n in (0, 1, 2)},
    }
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(REPEATS):
        for name, reader in readers.items():
            if state.startswith("dropped"):
                forget(directory)
            rates[name].append(reader())
    yardstick = statistics.median(rates["plain, 1 process"])
    print(f"\nbatches of {BATCH_SIZE}; the page cache: {state}")
    for name, measured in rates.items():
        median = statistics.median(measured)
        print(f"| {name} | {median:.0f} samples/s | {median / yardstick:.0%} |")


def test_the_full_size(tmp_path: Path) -> None:
    """Opens 100 shards of 110,000 frames in its own process; the token files are sparse."""
    write_full_size(tmp_path)
    command = [sys.executable, "-m", "tests.benchmarks.reading", str(tmp_path)]
    costs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(
        f"\n{costs['windows']} windows of 10 clips: {costs['open_s']:.2f} s, {costs['open_mb']:.0f} MB more; action "
        f"statistics: {costs['statistics_s']:.1f} s, {costs['statistics_mb']:.0f} MB more; file descriptors after "
        f"reading from all shards: {costs['descriptors']:+.0f}"
    )
