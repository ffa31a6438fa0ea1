"""Results equal the recorded ones.

After a change that is meant to alter them, run `python -m tests.golden.regenerate` and describe the change in the
commit. The case "room-64" pins the configuration of the checkpoint that comes with the package.
"""

import json
from dataclasses import asdict

import pytest

from hwm_env.model.presets import ROOM_64
from tests.golden.cases import CASES, FILE, SHIPPED, compute


@pytest.mark.parametrize("name", CASES)
def test_results_are_the_recorded_ones(name: str) -> None:
    """If they are meant to differ, run `python -m tests.golden.regenerate`."""
    recorded, values = json.loads(FILE.read_text())[name], compute(name)
    assert values["logits"] == pytest.approx(recorded["logits"], abs=1e-4)
    assert values["rollout"] == recorded["rollout"]


def test_nothing_is_recorded_that_is_not_tested() -> None:
    assert list(json.loads(FILE.read_text())) == list(CASES)


def test_a_case_pins_the_options_of_the_shipped_model() -> None:
    ours, shipped = asdict(SHIPPED), asdict(ROOM_64)
    different = {name for name in shipped if ours[name] != shipped[name]}
    sizes = {"num_layers", "num_heads", "width", "mlp_width", "grid_size", "fsq_levels"}
    assert different == sizes | {"shared_layers_start", "num_past_clips"}
    assert SHIPPED.spatial_lookback
