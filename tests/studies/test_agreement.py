"""The study of agreement: which policies it trains, and its report in miniature."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3")

from docs.studies import agreement
from docs.studies.agreement import Study, main, trainings
from hwm_env.checkpoint import save
from hwm_env.evaluation.policies.sb3_policy import SB3Policy
from hwm_env.reference.rendering import can_render
from tests.scene.scenes import make_checkpoint


def test_sixteen_trainings_that_share_nothing() -> None:
    runs = trainings(Study(), "look-at")
    assert len(runs) == len({run.seed for run in runs}) == len({run.out for run in runs}) == 16
    assert {(run.algo, run.env) for run in runs} == {
        (algo, env) for algo in ("ppo", "sac") for env in ("HWM-v0", "HWMReference-v0")
    }
    assert {run.steps for run in runs if run.algo == "ppo"} == {65_536, 32_768, 16_384, 8_192, 4_096}
    assert min(run.steps for run in trainings(Study(shorten=20), "look-at")) == 32 * 64
    runs = trainings(Study(), "look-at:door")
    assert len(runs) == len({run.seed for run in runs}) == len({run.out for run in runs}) == 8
    assert {(run.algo, run.env, run.observes, run.pictures) for run in runs} == {
        ("ppo", "HWMReference-v0", "pixels", True)
    }


@pytest.mark.slow
def test_the_study_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    save(make_checkpoint(), tmp_path / "checkpoint")
    monkeypatch.setattr(agreement, "PPO_STEPS", (128,))
    monkeypatch.setattr(agreement, "SAC_STEPS", ())
    monkeypatch.setattr(agreement, "PICTURE_STEPS", (128, 128))
    monkeypatch.setattr(agreement, "EXPERTS", "policies.experts.expert:expert")
    study = Study(
        out=tmp_path / "out",
        json=tmp_path / "agreement.json",
        csv=tmp_path / "agreement.csv",
        checkpoint=str(tmp_path / "checkpoint"),
        tasks=("face-target",),
        picture_tasks=("face-target:door",),
        rewards=("poses", "network"),
        picture_rewards=("carried",),
        starts=3,
        picture_starts=2,
        max_steps=3,
        num_envs=4,
    )
    main(study)
    tasks = json.loads((tmp_path / "agreement.json").read_text())["tasks"]
    assert tasks["face-target:door"]["carried"]["k"] == len(tasks["face-target:door"]["carried"]["policies"]) == 2
    report = tasks["face-target"]
    assert {rewards: of["stamp"]["learned_as"] for rewards, of in report.items()} == {
        "poses": "poses",
        "network": "network",
    }
    names = [policy["name"] for policy in report["poses"]["policies"]]
    assert len(names) == 3
    assert report["poses"]["k"] == report["network"]["k"] == 2
    assert [report[rewards]["policies"][0]["true"]["episodes"] for rewards in report] == [3, 2]
    with (tmp_path / "agreement-face-target.csv").open(newline="") as file:
        assert [row["policy"] for row in csv.DictReader(file)] == names
    learned = tmp_path / "out/face-target-ppo-learned-0.zip"
    assert SB3Policy(learned).family == str(learned.with_suffix(""))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.zip")}
    main(replace(study, json=None, csv=None))
    assert {path: path.stat().st_mtime_ns for path in before} == before
