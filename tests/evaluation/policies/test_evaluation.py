"""Evaluations of policies: their reports, and that interruptions lose nothing."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwm_env import checkpoint as checkpoints
from hwm_env.checkpoint import Checkpoint
from hwm_env.cli import main
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import CheckpointError, DatasetError, InvalidInputError
from hwm_env.evaluation.policies.evaluation import EvaluationConfig, check_true_results, evaluate
from hwm_env.evaluation.policies.loading import gather_policies
from hwm_env.evaluation.policies.player import Player, Unit
from hwm_env.evaluation.policies.prediction_powered import corrected_mean
from hwm_env.evaluation.policies.summary import Pair, extremes, task_report
from hwm_env.evaluation.policies.trials import Case, Trial, make_cases
from hwm_env.evaluation.reports.policy_page import write_page
from hwm_env.policy import SCRIPTED
from hwm_env.reference.rendering import can_render

TURNERS = "tests.evaluation.policies.scripted:turners"
NAMES = ["turns -0.5 rad/s", "turns 0 rad/s", "turns 0.5 rad/s"]


def trial(success: bool, poses: Sequence[Sequence[float]] = (), reward: float = 0.0, start: int = 0) -> Trial:
    return Trial(Case(start, start), success, reward, [list(pose) for pose in poses], [], len(poses))


def outcomes(*rates: float, count: int = 20) -> list[list[Trial]]:
    return [[trial(index < rate * count, reward=rate) for index in range(count)] for rate in rates]


def finished(true: list[list[Trial]], learned: list[list[Trial]]) -> dict[Unit, list[Trial]]:
    names = [f"policy {index}" for index in range(len(true))]
    return {
        **{Unit("task", name, "true"): trials for name, trials in zip(names, true, strict=True)},
        **{Unit("task", name, "learned"): trials for name, trials in zip(names, learned, strict=True)},
    }


def test_agreement_is_that_of_success_rates() -> None:
    true, learned = (0.1, 0.5, 0.9), (0.3, 0.2, 0.8)
    families = {f"policy {i}": f"policy {i}" for i in range(3)}
    report = task_report("task", families, finished(outcomes(*true), outcomes(*learned)), {})
    assert report["pearson"]["value"] == pytest.approx(np.corrcoef(true, learned)[0, 1])
    assert report["spearman"]["value"] == pytest.approx(0.5)
    assert report["mmrv"]["value"] == pytest.approx((0.4 + 0.4 + 0.0) / 3)
    assert [policy["true"]["success"]["value"] for policy in report["policies"]] == pytest.approx(true)
    assert [policy["learned"]["return"]["value"] for policy in report["policies"]] == pytest.approx(learned)


def test_a_report_counts_families_and_training_runs() -> None:
    """Ten checkpoints of five runs and a scripted expert, six of them good."""
    rates = [index / 11 for index in range(11)]
    families = {f"policy {i}": f"run {i // 2}" for i in range(10)} | {"policy 10": SCRIPTED}
    report = task_report("task", families, finished(outcomes(*rates), outcomes(*rates)), {})
    assert (report["families"], report["k"]) == (6, 5)
    assert [policy["family"] for policy in report["policies"]] == list(families.values())
    # A perfect correlation of k = 5.
    assert report["pearson"]["fisher_z"] == {"low": pytest.approx(1.0), "high": pytest.approx(1.0)}
    assert report["permutation"] == {
        "policies": {"method": "Monte Carlo", "permutations": 100_000},
        "families": {"method": "exact", "permutations": 720},
    }
    assert report["mmrv"]["permutation_p"] == {"policies": pytest.approx(1e-5, rel=0.01), "families": 1 / 720}
    assert report["spearman"]["leave_one_out"]["family"] == {"low": pytest.approx(1.0), "high": pytest.approx(1.0)}
    assert (report["bias"]["value"], report["slope"]["value"]) == (pytest.approx(0.0), pytest.approx(1.0))
    bins = report["calibration_bins"]
    assert sum(each["policies"] for each in bins) == 11
    assert all(each["low"] <= each["learned"] == each["true"] <= each["high"] for each in bins)
    assert report["winners"]["value"] == 1.0
    assert report["clear_winners"]["true"]["confirmed"] == 1.0
    (correction,) = report["prediction_powered"]
    assert (correction["true_trials"], len(correction["policies"])) == (10, 11)
    assert correction["pooled"]["saved_trials"] > 0


def test_the_horizon_keeps_failures_apart_from_successes() -> None:
    straight = [[float(step), 0.0, 0.0] for step in range(1, 4)]
    aside = [[x, 0.1 * (step + 1), np.pi - 0.1] for step, (x, _, _) in enumerate(straight)]
    around = [[x, 0.0, -np.pi + 0.1] for x, _, _ in straight]
    true = [[trial(True, straight)] * 5 + [trial(False, around)] * 6]
    learned = [[trial(True, aside[:2])] * 5 + [trial(False, aside)] * 6]
    horizon = task_report("task", {"policy 0": "a"}, finished(true, learned), {})["horizon"]
    assert horizon["successes"]["distance_m"] == pytest.approx([0.1, 0.2])
    assert horizon["failures"]["distance_m"] == pytest.approx([0.1, 0.2, 0.3])
    assert horizon["failures"]["heading_deg"] == pytest.approx([np.degrees(0.2)] * 3)
    assert horizon["failures"]["pairs"] == [6, 6, 6]


def test_the_extremes_are_those_of_the_robots_distance() -> None:
    path = [[float(step), 0.0, 0.0] for step in range(3)]
    near, far = ([[x, aside, 0.0] for x, _, _ in path] for aside in (0.1, 2.0))
    standing = [[0.0, 0.0, 0.0]] * 3
    pairs = [
        Pair("near", 0, trial(True, path), trial(True, near)),
        Pair("far", 1, trial(True, path), trial(True, far)),
        Pair("standing", 2, trial(True, standing), trial(True, standing)),
    ]
    found = extremes(pairs)
    assert found is not None
    assert [pair.policy for pair in found] == ["near", "far"]
    assert extremes(pairs[2:]) is None


def test_true_results_from_elsewhere_correct_the_learned_ones() -> None:
    learned = outcomes(0.9, count=200)
    known = {"task": {"policy 0": [True, False] * 10}}
    trials = {Unit("task", "policy 0", "learned"): learned[0]}
    policy = task_report("task", {"policy 0": "a"}, trials, known)["policies"][0]
    corrected = policy["corrected_success"]
    assert corrected["true_trials"] == 20
    assert corrected["low"] < 0.5 < corrected["high"] < policy["learned"]["success"]["low"]


def test_further_learned_trials_correct_but_are_no_pairs() -> None:
    true, learned = outcomes(0.2, 0.5, 0.8), outcomes(0.2, 0.5, 0.8)
    families = {f"policy {i}": f"policy {i}" for i in range(3)}
    pairs = finished(true, learned)
    more = {Unit("task", name, "learned", part): outcomes(1.0)[0] for part in (1, 2) for name in families}
    known = {"task": {"policy 1": [True] * 9 + [False] * 3}}
    alone, together = (task_report("task", families, trials, known) for trials in (pairs, {**more, **pairs}))
    for report, count in ((alone, 20), (together, 60)):
        (correction,) = report["prediction_powered"]
        assert correction["learned_trials"] == count
    assert together["pearson"] == alone["pearson"]
    assert together["policies"][1]["learned"] == alone["policies"][1]["learned"]
    unpaired, tried = np.repeat([0.0, 1.0], [8, 40]), np.repeat([1.0, 0.0], [10, 2])
    expected = corrected_mean(unpaired, tried, np.repeat([1.0, 0.0], [9, 3]))
    assert together["policies"][1]["corrected_success"]["value"] == pytest.approx(expected.value)


@pytest.mark.parametrize(
    "results", [["face-target"], {"face-target": [True]}, {"task": {"one": [1, 0]}}, {"task": {"one": [True] * 5}}]
)
def test_true_results_of_another_form_are_refused(results: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected true results as"):
        check_true_results(results, 5)


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint: Path) -> Checkpoint:
    return checkpoints.load(tiny_checkpoint)


CONFIG = EvaluationConfig(policies=[TURNERS], tasks=["face-target"], starts=3, worlds=["learned"], max_steps=3)


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on(loaded: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(loaded, CONFIG, tmp_path / "whole", command="")
    played: list[str] = []
    original = Player.play

    def play(player: Player, unit: Unit, cases: Sequence[Case]) -> list[Trial]:
        if len(played) == 2:
            raise KeyboardInterrupt
        played.append(unit.policy)
        return original(player, unit, cases)

    monkeypatch.setattr(Player, "play", play)
    with pytest.raises(KeyboardInterrupt):
        evaluate(loaded, CONFIG, tmp_path / "parts", command="")
    log = tmp_path / "parts" / "trials.jsonl"
    # The second line was written in part.
    log.write_bytes(log.read_bytes()[:-7])
    played.clear()
    assert evaluate(loaded, CONFIG, tmp_path / "parts", command="") == whole
    assert played == NAMES[1:]
    played.append("nothing may be played again")
    assert evaluate(loaded, CONFIG, tmp_path / "parts", command="") == whole


@pytest.mark.slow
def test_trials_of_something_else_are_not_mixed(loaded: Checkpoint, tmp_path: Path) -> None:
    evaluate(loaded, CONFIG, tmp_path, command="")
    other = EvaluationConfig(policies=[TURNERS], tasks=["face-target"], starts=3, worlds=["learned"], seed=1)
    with pytest.raises(InvalidInputError, match=r"another evaluation \(max_steps, seed differ\)"):
        evaluate(loaded, other, tmp_path, command="")
    (tmp_path / "trials.jsonl").write_text("no log\n")
    with pytest.raises(InvalidInputError, match="is no log of trials"):
        evaluate(loaded, CONFIG, tmp_path, command="")


@pytest.mark.slow
def test_a_bad_policy_takes_no_other_with_it(loaded: Checkpoint, tmp_path: Path) -> None:
    both = EvaluationConfig(
        policies=[TURNERS, "tests.evaluation.policies.scripted:nan"],
        tasks=["face-target"],
        starts=3,
        worlds=["learned"],
        max_steps=3,
    )
    with pytest.raises(InvalidInputError, match="policy 'broken', start 0, step 2"):
        evaluate(loaded, both, tmp_path, command="")
    kept = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()[1:]]
    assert [line["unit"]["policy"] for line in kept] == NAMES
    assert len(evaluate(loaded, CONFIG, tmp_path, command="")["tasks"]["face-target"]["policies"]) == 3


@pytest.mark.slow
def test_further_learned_trials_continue_an_evaluation(loaded: Checkpoint, tmp_path: Path) -> None:
    config = replace(CONFIG, worlds=["learned"])
    evaluate(loaded, config, tmp_path / "in turn", command="")
    more = replace(config, learned_starts=3 * config.starts)
    evaluate(loaded, more, tmp_path / "in turn", command="")
    evaluate(loaded, replace(config, starts=more.learned_starts), tmp_path / "at once", command="")
    played = []
    for directory in ("in turn", "at once"):
        of_policy: dict[str, list[Any]] = {name: [] for name in NAMES}
        for line in (tmp_path / directory / "trials.jsonl").read_text().splitlines()[1:]:
            unit, trials = (content := json.loads(line))["unit"], content["trials"]
            assert bool(trials[0]["poses"]) == (unit["part"] == 0)
            of_policy[unit["policy"]] += [(each["case"], each["success"], each["total_reward"]) for each in trials]
        played.append(of_policy)
    assert played[0] == played[1]
    with pytest.raises(InvalidInputError, match="learned_starts must be a multiple of starts"):
        replace(config, learned_starts=config.starts - 1)


def test_equal_names_and_missing_readouts_are_refused(loaded: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="several are called turns"):
        gather_policies([TURNERS, TURNERS], ["face-target"])
    blind = Checkpoint(loaded.model, loaded.tokenizer, loaded.statistics, loaded.starts)
    with pytest.raises(CheckpointError, match="needs a read-out, which this checkpoint lacks"):
        evaluate(blind, CONFIG, tmp_path, command="")


@pytest.mark.slow
def test_the_command_writes_a_report_and_a_page(tiny_checkpoint: Path, tmp_path: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    files = {name: tmp_path / name for name in ("report.json", "page.html", "results.json")}
    files["results.json"].write_text(json.dumps({"face-target": {NAMES[0]: [True, False]}}))
    options = ["--tasks", "face-target", "look-at", "--checkpoint", str(tiny_checkpoint), "--starts", "4"]
    options += ["--max-steps", "3", "--out", str(tmp_path / "trials"), "--true-results", str(files["results.json"])]
    options += ["--json", str(files["report.json"]), "--page", str(files["page.html"])]
    options += ["--csv", str(tmp_path / "policies.csv"), "--pairs", str(tmp_path / "pairs.csv")]
    assert main(["evaluate", TURNERS, *options]) == 0
    report = json.loads(files["report.json"].read_text())
    assert report["stamp"]["weights"] == checkpoints.load(tiny_checkpoint).identity
    assert [case["start"] for case in report["cases"]] == [case.start for case in make_cases(4, 4, 0)]
    for task in ("face-target", "look-at"):
        content = report["tasks"][task]
        assert [policy["name"] for policy in content["policies"]] == NAMES
        assert all(content[name]["over_starts"].keys() == {"value", "low", "high"} for name in ("pearson", "mmrv"))
        assert (content["families"], content["k"]) == (3, 3)
        # No policy succeeds, and JSON has no NaN.
        assert content["pearson"]["value"] is None
        assert content["mmrv"]["value"] == 0
    assert "corrected_success" in report["tasks"]["face-target"]["policies"][0]
    with (tmp_path / "policies.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["task"], line["policy"]) for line in lines] == [
        (task, name) for task in ("face-target", "look-at") for name in NAMES
    ]
    assert [lines[0][key] for key in ("family", "starts", "true_success")] == [NAMES[0], "4", "0.0"]
    learned = report["tasks"]["face-target"]["policies"][0]["learned"]["return"]
    assert [float(lines[0][f"learned_return{end}"]) for end in ("", "_low", "_high")] == list(learned.values())
    with (tmp_path / "pairs.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    assert [(pair["first"], pair["second"]) for pair in pairs[:3]] == list(combinations(NAMES, 2))
    assert float(pairs[0]["true_difference_low"]) < 0 < float(pairs[0]["true_difference_high"])
    page = files["page.html"].read_text()
    assert page.count("<svg ") >= 2
    assert page.count("data:image/png;base64,") == 4
    assert all(name in page for name in NAMES)
    # The page loads nothing: its only addresses are XML namespaces.
    assert 'src="http' not in page
    assert "<script" not in page


@pytest.mark.slow
def test_recorded_actions_are_replayed(loaded: Checkpoint, tmp_path: Path) -> None:
    """Each clip is brighter by 1, so that the repeated frame has errors of 1, 2, ..., 10."""
    clips, episodes = 9 + 10, 3
    brightness = np.tile(np.arange(clips, dtype=np.uint8), episodes).repeat(17)
    frames = np.broadcast_to(brightness[:, None, None, None], (len(brightness), 64, 64, 3))
    writer = DatasetWriter(tmp_path / "real robot", image_size=(64, 64))
    segments = np.arange(episodes, dtype=np.int32).repeat(clips * 17)
    writer.write_shard(0, states=np.zeros((len(frames), 25), np.float32), segments=segments, frames=frames)
    writer.finish()
    config = replace(CONFIG, recording=tmp_path / "real robot")
    page = tmp_path / "page.html"
    replayed = evaluate(loaded, config, tmp_path / "trials", command="", writers=[partial(write_page, file=page)])[
        "replay"
    ]
    assert (replayed["recording"], replayed["starts"]) == ("real robot", 3)
    expected = [10 * np.log10(255**2 / step**2) for step in range(1, 11)]
    assert replayed["psnr_repeat_last_frame"] == pytest.approx(expected, abs=1e-3)
    assert len(replayed["psnr"]) == 10
    assert "3 stretches of real robot" in page.read_text()
    with pytest.raises(DatasetError, match="holds 3 stretches of 19 clips; expected 4"):
        evaluate(loaded, replace(config, starts=4), tmp_path / "more", command="")


def test_bad_input_ends_with_two(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out")]
    assert main(["evaluate", "nowhere:nothing", *common]) == 2
    assert main(["evaluate", TURNERS, "--worlds", "learned", "--tasks", "juggle", *common]) == 2
    assert main(["evaluate", TURNERS, "--starts", "0", *common]) == 2
    errors = capsys.readouterr().err
    for part in ("there is no policy 'nowhere:nothing'", "juggle", "starts must be at least 1, got 0"):
        assert part in errors
