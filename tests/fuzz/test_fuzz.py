"""Wrong inputs of every kind get a clear answer; `make fuzz` tries many more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import KINDS
from tests.fuzz.answers import GOOD

pytestmark = pytest.mark.slow

INPUTS_A_KIND = 8


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """The counts of answers, from a separate process, so that the inputs cannot affect other tests."""
    file: Path = tmp_path_factory.mktemp("fuzz") / "counts.json"
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", str(INPUTS_A_KIND * len(KINDS)), "--json", str(file)]
    subprocess.run(command, check=False, capture_output=True)
    answers: dict[str, dict[str, int]] = json.loads(file.read_text())
    return answers


@pytest.mark.parametrize("kind", KINDS)
def test_every_input_gets_a_clear_answer(counts: dict[str, dict[str, int]], kind: str) -> None:
    assert sum(counts[kind].values()) == INPUTS_A_KIND
    assert set(counts[kind]) <= set(GOOD), f"{counts[kind]}; python -m tests.fuzz --kind {kind!r} names the inputs"
    assert counts[kind].get("refused", 0) > 0
