"""The study of the fidelity dial: its settings, its choices, and its report in miniature."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs.studies import dial, dial_settings, policy_tables
from docs.studies.dial_choice import USES, losses_db, pareto_front, recommend
from docs.studies.dial_measures import chosen_experts, compare_success
from docs.studies.dial_settings import Setting, default_setting, settings_of
from docs.studies.finished_parts import FinishedParts
from hwm_env.checkpoint import save
from hwm_env.decoding.config import DecodingConfig
from hwm_env.errors import InvalidInputError
from hwm_env.reference.rendering import can_render
from hwm_env.types import HISTORY_CLIPS
from policies.experts.skill import GRADES
from tests.scene.scenes import make_checkpoint

GREEDY = DecodingConfig(steps=1, temperature=0.0, history="streaming")


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the machine supports, the default first; the other history in PyTorch and float32 alone."""
    monkeypatch.setattr(dial_settings, "has_fast_bfloat16", lambda _: True)
    checkpoint = make_checkpoint(decoding=GREEDY)
    settings = settings_of(checkpoint, (1, 4), ("torch", "openvino"))
    assert settings[0] == default_setting(checkpoint)
    assert len(settings) == len({setting.name for setting in settings}) == 2 * (3 + 2 + 1)
    assert {setting.precision for setting in settings if setting.history == "window"} == {"float32"}
    monkeypatch.setattr(dial_settings, "has_fast_bfloat16", lambda _: False)
    monkeypatch.setattr(dial_settings.importlib.util, "find_spec", lambda _: None)
    few = settings_of(checkpoint, (4,), ("torch", "openvino"))
    assert [setting.name for setting in few] == [
        "torch-float32-streaming-1",
        "torch-float32-streaming-4",
        "torch-int8-streaming-4",
        "torch-float32-window-4",
    ]


def test_the_scene_alone_has_one_precision_and_no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_settings, "has_fast_bfloat16", lambda _: True)
    checkpoint = make_checkpoint(decoding=GREEDY)
    named = {setting.name for setting in settings_of(checkpoint, (0,), ("torch", "openvino"))}
    alone = {"torch-float32-streaming-0", "openvino-float32-streaming-0", "openvino-bfloat16-streaming-0"}
    assert named == {"torch-float32-streaming-1", *alone}
    assert not any(setting.steps == 0 for setting in settings_of(replace(checkpoint, scene=None), (0,), ("torch",)))


def test_differences() -> None:
    setting = Setting(steps=1, precision="float32", backend="torch", history="window")
    assert setting.differences(setting) == 0
    assert setting.differences(replace(setting, steps=2, precision="int8")) == 2


def test_the_pareto_front() -> None:
    times = {"slow": 3.0, "slow and worse": 4.0, "fast": 1.0, "as fast and worse": 1.0, "between": 2.0}
    fidelity = {"slow": 25.0, "slow and worse": 24.0, "fast": 23.0, "as fast and worse": 22.0, "between": 23.0}
    assert pareto_front(times, fidelity) == ["fast", "slow"]


def test_recommendations_are_the_fastest_settings_that_lose_little() -> None:
    lost_db = {
        "best": [0.0] * 4,
        "equal": [0.1, -0.05, 0.1, -0.05],
        "near": [0.2] * 4,
        "doubtful": [0.6, 0.1, 0.1, 0.1],
    }
    losses = losses_db({name: 25 - np.array([lost, lost]).T for name, lost in lost_db.items()})
    assert losses["best"].value == losses["best"].high == 0
    assert losses["doubtful"].value == pytest.approx(0.225)
    assert losses["doubtful"].high > USES["RL"].tolerance_db
    times_ms = {"best": 4.0, "equal": 3.0, "near": 2.0, "doubtful": 1.0}
    times = {name: dict.fromkeys(("frames", "pixels", "tokens"), ms) for name, ms in times_ms.items()}
    chosen = recommend(times, losses, "best")
    assert {use: each["setting"] for use, each in chosen.items()} == {
        "RL": "near",
        "planning": "near",
        "evaluation": "equal",
        "looking": "equal",
    }
    assert chosen["RL"]["times_as_fast"] == 2


def test_worlds_that_agree() -> None:
    success = {"look-at": [[True] * 8, [True, False] * 4, [False] * 8]}
    compared = compare_success(success, success)["look-at"]
    assert compared["pearson"]["value"] == pytest.approx(1)
    assert compared["mmrv"]["value"] == compared["bias"]["value"] == 0
    assert compared["true"] == compared["learned"]
    assert compared["true"]["value"] == 0.5


def test_experts_are_spread_from_the_perfect_to_the_worst() -> None:
    names = [expert.name for expert in chosen_experts("face-target", 3)]
    assert len(names) == 3
    assert (names[0], names[-1]) == (f"expert, {GRADES[0]}", f"expert, {GRADES[-1]}")
    assert len(chosen_experts("face-target", 100)) == len(GRADES)


def test_parts_of_another_study_are_refused(tmp_path: Path) -> None:
    parts = FinishedParts(tmp_path, {"starts": 3, "tasks": ("look-at",)})
    assert parts.get("one", lambda: [1.5]) == parts.get("one", lambda: [2.5]) == [1.5]
    assert FinishedParts(tmp_path, {"starts": 3, "tasks": ("look-at",)}).get("one", lambda: None) == [1.5]
    with pytest.raises(InvalidInputError, match="starts differ"):
        FinishedParts(tmp_path, {"starts": 4, "tasks": ("look-at",)})


@pytest.mark.slow
def test_the_study_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    monkeypatch.setattr(dial, "LOOP_STEPS", (1, 2))
    monkeypatch.setattr("docs.studies.dial_measures.LOOP_STEPS", (1, 2))
    monkeypatch.setattr(dial_settings, "has_fast_bfloat16", lambda _: False)
    save(make_checkpoint(decoding=GREEDY), tmp_path / "checkpoint")
    study = dial.Study(
        out=tmp_path / "out",
        json=tmp_path / "dial.json",
        csv=tmp_path / "dial.csv",
        plot=tmp_path / "dial.png",
        checkpoint=str(tmp_path / "checkpoint"),
        decoding_steps=(1, 2),
        backends=("torch",),
        rounds=1,
        episodes=2,
        tasks=("face-target",),
        experts=2,
        starts=2,
        max_steps=2,
    )
    dial.main(study)
    report = json.loads((tmp_path / "dial.json").read_text())
    settings = {each["name"]: each for each in report["settings"]}
    assert next(iter(settings)) == report["default"] == "torch-float32-streaming-1"
    assert len(settings) == 6
    assert (tmp_path / f"out/2x{HISTORY_CLIPS + 2}-64px").is_dir()
    for name, each in settings.items():
        assert set(each["psnr_db"]) == set(report["ceiling_db"]) == {"1", "2"}
        assert (each["agreement"] is None) == (name in ("torch-int8-streaming-2", "torch-float32-window-2"))
        assert each["loss_db"]["value"] >= 0
        assert min(each["ms"].values()) > 0
    assert settings[report["default"]]["times_as_fast"] == {"frames": 1, "pixels": 1, "tokens": 1}
    # Both kinds of history are equal until the first clip has left the window.
    one, other = (settings[f"torch-float32-{history}-1"]["psnr_db"] for history in ("streaming", "window"))
    assert one["1"] == pytest.approx(other["1"], abs=0.01)
    with (tmp_path / "dial.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == list(settings)
    assert (tmp_path / "dial.png").stat().st_size > 10_000
    shown = policy_tables.dial(report)
    assert shown[0][5:] == ["PSNR after 1", "PSNR after 2", "loss, dB"]
    assert [row[0] for row in shown[1:] if "default" in row[0]] == ["torch, float32, streaming (default)"]
    assert [row[0] for row in policy_tables.dial_uses(report)[1:]] == ["RL", "planning", "evaluation", "looking"]

    def refuse(*_: Any) -> None:
        raise AssertionError("it has been measured already")

    for name in ("time_settings", "score_setting", "play_experts"):
        monkeypatch.setattr(dial, name, refuse)
    again = json.loads(json.dumps(dial.run(study)))
    assert again == {name: report[name] for name in again}
