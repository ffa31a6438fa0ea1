"""A training that is killed between and within file operations resumes, and ends with the same bits."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.states import assert_same_bits

pytestmark = pytest.mark.slow

KILLS = 20


def test_twenty_kills_change_no_bit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.killing", str(tmp_path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"killed (\d+) times, the last time at step-(\d+)", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1]) == KILLS
    assert int(found[2]) >= 3, "the kills came before anything was saved"
    assert_same_bits(tmp_path / "whole/checkpoints/step-00000014", tmp_path / "killed/checkpoints/step-00000014")
