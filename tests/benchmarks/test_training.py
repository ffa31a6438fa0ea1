"""Compares a training's memory and time with the estimates before it starts; prints, asserts nothing: `make bench`."""

import json
import subprocess
import sys

import pytest

from tests.benchmarks.timing import NEEDS_BFLOAT16

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=NEEDS_BFLOAT16)])
def test_memory_and_time_of_a_step_at_the_size_of_room_64(precision: str) -> None:
    """Returns the memory beyond what the process held before it had a model."""
    command = [sys.executable, "-m", "tests.benchmarks.training", precision]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(
        f"\n{precision}: {found['step_s']:.2f} s a step ({found['estimated_s']:.2f} s announced), "
        f"{found['targets_per_s']:.0f} target clips a second; {found['peak_gb']:.2f} GB at most "
        f"({found['estimated_gb']:.2f} GB announced, activations kept {found['kept_gb']:.2f} GB)"
    )
