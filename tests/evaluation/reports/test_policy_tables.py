"""Tables of an evaluation, against what was measured."""

import csv
from pathlib import Path
from typing import Any, cast

import pytest

from hwm_env.evaluation.policies.player import Player, Unit, WorldName
from hwm_env.evaluation.policies.summary import task_report
from hwm_env.evaluation.policies.trials import Case, Trial
from hwm_env.evaluation.reports.policy_tables import write_pairs, write_policies

FAMILIES = {"a": "run 0", "b": "run 0", "c, with a comma": "run 1"}


def written(directory: Path, worlds: tuple[WorldName, ...]) -> None:
    finished = {
        Unit("task", name, world): [
            Trial(Case(start, start), start <= number, float(number), [], [], 1) for start in range(4)
        ]
        for world in worlds
        for number, name in enumerate(FAMILIES)
    }
    report = {"tasks": {"task": task_report("task", FAMILIES, finished, {})}}
    write_policies(report, finished, cast(Player, None), file=directory / "policies.csv")
    write_pairs(report, finished, cast(Player, None), file=directory / "pairs.csv")


def read(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_each_policy_has_a_line(tmp_path: Path) -> None:
    written(tmp_path, ("true", "learned"))
    lines = read(tmp_path / "policies.csv")
    assert {line["policy"]: line["family"] for line in lines} == FAMILIES
    assert [float(line["true_success"]) for line in lines] == [0.25, 0.5, 0.75]
    assert [float(line["learned_return_high"]) for line in lines] == [0.0, 1.0, 2.0]
    assert {(line["task"], line["starts"]) for line in lines} == {("task", "4")}


def test_each_two_policies_have_a_line(tmp_path: Path) -> None:
    written(tmp_path, ("true", "learned"))
    lines = read(tmp_path / "pairs.csv")
    assert [(line["first"], line["second"]) for line in lines] == [
        ("a", "b"),
        ("a", "c, with a comma"),
        ("b", "c, with a comma"),
    ]
    assert [float(line["learned_difference"]) for line in lines] == [-0.25, -0.5, -0.25]
    assert all(float(line["true_difference_low"]) < float(line["true_difference_high"]) for line in lines)


@pytest.mark.parametrize("world", ["true", "learned"])
def test_a_world_that_was_not_played_is_empty(tmp_path: Path, world: WorldName) -> None:
    written(tmp_path, (world,))
    other = {"true": "learned", "learned": "true"}[world]
    (first, *_) = read(tmp_path / "policies.csv")
    assert first[f"{world}_success"] == "0.25"
    assert first[f"{other}_success"] == first[f"{other}_return_low"] == ""
    assert read(tmp_path / "pairs.csv") == []
