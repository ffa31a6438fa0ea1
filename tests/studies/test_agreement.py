"""The study of agreement: which policies it trains, and its report in miniature."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3")

from docs.studies import agreement, policy_tables
from docs.studies.agreement import Study, main, trainings
from docs.studies.reward_sources import side_by_side
from hwm_env.checkpoint import save
from hwm_env.evaluation.policies.player import WORLDS, Unit
from hwm_env.evaluation.policies.sb3_policy import SB3Policy
from hwm_env.evaluation.policies.trials import Case, Trial
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


def test_sources_are_compared_from_the_starts_that_all_share() -> None:
    """The second policy fails from the third start on, which only one source has played."""
    success = {
        ("true", "a"): [1, 1, 1],
        ("true", "b"): [0, 1, 0],
        ("poses", "a"): [1, 1, 1],
        ("poses", "b"): [0, 1, 0],
        ("network", "a"): [1, 0],
        ("network", "b"): [1, 1],
    }

    def finished(source: str) -> dict[Unit, list[Trial]]:
        return {
            Unit("look-at", policy, world): [
                Trial(Case(start, start), bool(value), float(value), [], [], 1)
                for start, value in enumerate(success["true" if world == "true" else source, policy])
            ]
            for policy in ("a", "b")
            for world in WORLDS
        }

    compared = side_by_side("look-at", {"a": "a", "b": "b"}, {name: finished(name) for name in ("poses", "network")})
    assert compared["starts"] == 2
    rates = [{name: each["value"] for name, each in row.items() if name != "name"} for row in compared["policies"]]
    assert rates == [{"true": 1.0, "poses": 1.0, "network": 0.5}, {"true": 0.5, "poses": 0.5, "network": 1.0}]
    assert compared["measures"]["poses"]["pearson"]["value"] == pytest.approx(1)
    assert compared["measures"]["network"]["pearson"]["value"] == pytest.approx(-1)


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
        rewards_csv=tmp_path / "rewards.csv",
        checkpoint=str(tmp_path / "checkpoint"),
        tasks=("face-target",),
        picture_tasks=("face-target:door",),
        rewards=("poses", "network"),
        picture_rewards=("carried",),
        starts=3,
        learned_starts=6,
        picture_starts=2,
        max_steps=3,
        num_envs=4,
    )
    main(study)
    content = json.loads((tmp_path / "agreement.json").read_text())
    tasks = content["tasks"]
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
    rows = policy_tables.agreement(content)[1:]
    assert [row[:4] for row in rows] == [
        ["face-target", "carried pose", "3", "2"],
        ["face-target", "read-out of the pictures", "3", "2"],
        ["face-target:door", "carried pose (with pictures)", "2", "2"],
    ]
    compared = content["side_by_side"]["face-target"]
    assert compared["starts"] == 2
    assert [set(policy) for policy in compared["policies"]] == [{"name", "true", "poses", "network"}] * 3
    assert set(compared["measures"]) == {"poses", "network"}
    with (tmp_path / "rewards.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows[:3]] == names
    assert {row["task"]: (row["network"] == "", row["carried"] == "") for row in rows} == {
        "face-target": (False, True),
        "face-target:door": (True, False),
    }
    learned = tmp_path / "out/face-target-ppo-learned-0.zip"
    assert SB3Policy(learned).family == str(learned.with_suffix(""))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.zip")}
    main(replace(study, json=None, csv=None, rewards_csv=None))
    assert {path: path.stat().st_mtime_ns for path in before} == before
