"""Results today are those of the day they were recorded.

After a change that is meant to alter them: `python -m tests.golden.regenerate`, and say in the commit what it altered.
"""

import json

import pytest

from tests.golden.cases import CASES, FILE, compute


@pytest.mark.parametrize("name", CASES)
def test_results_are_the_recorded_ones(name: str) -> None:
    """If they are meant to differ: `python -m tests.golden.regenerate`."""
    recorded, values = json.loads(FILE.read_text())[name], compute(name)
    assert values["logits"] == pytest.approx(recorded["logits"], abs=1e-4)
    assert values["rollout"] == recorded["rollout"]


def test_nothing_is_recorded_that_is_not_tested() -> None:
    assert list(json.loads(FILE.read_text())) == list(CASES)
