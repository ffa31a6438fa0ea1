"""The study of planning: its report on episodes that are played here, and on gaps that are known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs.studies import mpc, policy_tables, traced_mpc
from hwm_env.checkpoint import save
from hwm_env.reference.rendering import can_render
from hwm_env.tasks.base import WorldReadout
from policies.planners.planner import PlannerConfig
from tests.scene.scenes import make_checkpoint

TINY = PlannerConfig(horizon=2, samples=16, iterations=2)
SMALLER = replace(TINY, samples=8)


@pytest.mark.slow
def test_planners_are_compared_and_nothing_is_played_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny scene knows no place by its looks, so poses are those of the wheels from a wrong place on."""
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    save(make_checkpoint(), tmp_path / "checkpoint")
    monkeypatch.setattr(mpc, "MAX_STEPS", 10)
    monkeypatch.setattr(mpc, "PLANNERS", {"oracle": (TINY,), "poses": (TINY, SMALLER), "pictures": (SMALLER,)})
    study = mpc.Study(
        out=tmp_path / "out",
        checkpoint=str(tmp_path / "checkpoint"),
        tasks=("face-target",),
        starts=2,
        json=tmp_path / "mpc.json",
        plot=tmp_path / "mpc.png",
    )
    mpc.main(study)
    report = json.loads((tmp_path / "mpc.json").read_text())
    oracle, same, smaller, pictures = report["tasks"]["face-target"]
    assert [row["planner"] for row in (oracle, same, smaller, pictures)] == ["oracle", "poses", "poses", "pictures"]
    assert [row["clips"] for row in (oracle, same, smaller)] == [64, 64, 32]
    assert oracle["success"]["value"] == 1.0
    assert "share" not in oracle
    assert same["share"]["value"] == same["success"]["value"]
    # Driving on a free floor is what the oracle's own world does.
    assert oracle["gaps"]["succeeded"]["gap_m"][1] < 1e-3
    assert oracle["gaps"]["failed"] is None
    assert (tmp_path / "mpc.png").stat().st_size > 10_000
    _, *rows = policy_tables.mpc(report)
    assert [row[:3] for row in rows] == [
        ["face-target", "the reference world (oracle)", "64"],
        ["face-target", "the learned world's carried pose", "64"],
        ["face-target", "the learned world's carried pose", "32"],
        ["face-target", "the read-out of its pictures", "32"],
    ]
    assert rows[0][4].startswith("1.00 (")

    def refuse(*_: Any) -> None:
        raise AssertionError("it has been played already")

    monkeypatch.setattr(mpc, "play", refuse)
    assert mpc.run(study) == report["tasks"]


def test_gaps() -> None:
    here = WorldReadout.from_vector([1.0, 2.0, np.pi - 0.1, *np.zeros(12)])
    there = WorldReadout.from_vector([1.3, 2.4, -np.pi + 0.1, *np.zeros(12)])
    assert traced_mpc._gap(here, there) == (pytest.approx(0.5, abs=1e-6), pytest.approx(np.degrees(0.2), abs=1e-4))
    assert traced_mpc._gap(here, None) == (None, None)
