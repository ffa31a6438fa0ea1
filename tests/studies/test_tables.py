"""The tables in README, model card and docs are those of the results, and the results are those of the weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from docs.studies import policy_tables, tables
from docs.studies.result_tables import TABLES
from docs.studies.tables import PAGES, filled, result, tables_of
from hwm_env import checkpoint as checkpoints
from hwm_env.errors import InvalidInputError


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)
def test_tables_are_filled(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "run python -m docs.studies.tables"
    assert text.count("<!-- table ") == len(tables_of(text)) == text.count("<!-- end -->"), "a table is not closed"


def test_results_are_of_the_shipped_weights() -> None:
    shipped = checkpoints.load("room-64")
    shown = {name for page in PAGES for name in tables_of(page.read_text(encoding="utf-8"))}
    assert shown
    for name in sorted({source for table in shown for source in TABLES[table].sources}):
        stamp = result(name)["stamp"]
        assert stamp["weights"] == shipped.identity, f"{name}.json was measured with other weights"
        assert stamp["tokenizer"] == shipped.tokenizer.identity, f"{name}.json was measured with another tokenizer"


def test_a_table_is_made_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"psnr_true_actions": 25.96, "psnr_shuffled_actions": 14, "psnr_repeat_last_frame": 20.06}
    moving = {**scores, "psnr_tokenizer_ceiling": 27, "starts": 614}
    content = {"next_clip": {**scores, "psnr_tokenizer_ceiling": 28, "starts": 1000, "moving": moving}}
    (tmp_path / "fidelity.json").write_text(json.dumps(content))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    page = "before\n\n<!-- table next-clip -->\n\nold\nlines\n\n<!-- end -->\n\nafter <!-- end"
    made = filled(page)
    assert made.startswith("before\n\n<!-- table next-clip -->\n\n| next clip | all 1,000 windows | 614 moving ones")
    assert "\n| --- | --- | --- |\n| true actions | 26.0 | 26.0 |\n" in made
    assert made.endswith("| tokenizer alone (ceiling) | 28.0 | 27.0 |\n\n<!-- end -->\n\nafter <!-- end")
    assert filled(made) == made
    assert filled(page.replace("old\nlines\n\n", "")) == made
    with pytest.raises(InvalidInputError, match="no table 'unknown'"):
        filled("<!-- table unknown -->\n\n\n\n<!-- end -->")


def test_what_evaluations_are_worth() -> None:
    def measure(value: float) -> dict[str, Any]:
        return {"value": 0.0, "over_starts": {"value": value, "low": value - 0.01, "high": value + 0.01}}

    report = {"pearson": measure(0.99), "mmrv": measure(0.02)}
    trained = {"results": {"learned": {"share": {"value": 0.98, "low": 0.9, "high": 1}}}}
    agreement = {"tasks": {"look-at": {"poses": report}, "reach-cube": {"poses": report}, "look-at:door": {}}}
    _, *rows = policy_tables.worth(agreement, {"tasks": {"look-at": trained}})
    measures = ["0.990 (0.980 to 1.000)", "0.020 (0.010 to 0.030)"]
    assert rows == [["look-at", *measures, "0.980 (0.900 to 1.000)"], ["reach-cube", *measures, ""]]


def test_savings_are_shares_of_all_true_trials_that_would_be_needed() -> None:
    corrections = [
        {"true_trials": known, "learned_trials": 4000, "pooled": {"saved_trials": saved}}
        for known, saved in ((10, 10.0), (50, 200.0))
    ]
    tasks = {"look-at": {"poses": {"prediction_powered": corrections}}, "look-at:door": {"carried": {}}}
    head, row = policy_tables.savings({"tasks": tasks})
    assert head == ["task", "learned trials", "10 true trials", "50 true trials"]
    assert row == ["look-at", "4000", "50 %", "80 %"]


def test_sources_of_rewards_stand_side_by_side() -> None:
    def measures(value: float) -> dict[str, Any]:
        estimate = {"value": value, "over_starts": {"value": value, "low": value - 0.01, "high": value + 0.01}}
        return dict.fromkeys(("pearson", "mmrv", "bias"), estimate)

    compared = {"starts": 30, "measures": {"poses": measures(0.99), "seen": measures(0.5)}}
    head, *rows = policy_tables.sources({"side_by_side": {"look-at": compared}})
    assert head[3:] == ["Pearson", "MMRV", "bias"]
    assert rows == [
        ["look-at", "carried pose", "30", *["0.990; 0.990 (0.980 to 1.000)"] * 3],
        ["look-at", "read-out of the true pictures", "30", *["0.500; 0.500 (0.490 to 0.510)"] * 3],
    ]
