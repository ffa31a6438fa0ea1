"""The comparison of trainings, with few steps."""

import json
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.reference.rendering import can_render

pytest.importorskip("stable_baselines3")

from docs.studies import policy_tables
from docs.studies.rl import Study, main
from docs.studies.rl_comparison import compare
from docs.studies.rl_plot import plot
from tests.studies.curves import CASES, SEEDS, curves_of, example


@pytest.mark.slow
def test_all_trainings_are_judged_in_the_reference_world_once(tmp_path: Path) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    # PPO of four worlds takes at least 128 steps.
    small = {"steps": 256, "tuning_steps": 128, "keep_every": 128, "num_envs": 4, "starts": 3}
    file, picture = tmp_path / "rl.json", tmp_path / "rl.png"
    study = Study(out=tmp_path / "rl", json=file, plot=picture, tasks=("look-at",), seeds=(7,), **small)
    main(study)
    report = json.loads(file.read_text())
    result = report["tasks"]["look-at"]
    assert (result["stamp"]["starts"], result["stamp"]["max_steps"]) == (3, 20)
    rows = policy_tables.rl(report)[1:]
    assert [row[1] for row in rows][:2] == ["in the learned world", "in the reference world"]
    assert [row[2] for row in rows] == ["256", "256", rows[2][2], "128"]
    assert rows[1][5] == "1.000 (1.000 to 1.000)"
    curves = result["curves"]
    assert [curves[kind]["steps"] for kind in ("learned", "true", "tuned")] == [[128, 256], [128, 256], [128]]
    for curve in curves.values():
        assert np.shape(curve["returns"]) == np.shape(curve["cpu_seconds"]) == (1, len(curve["steps"]))
    last = curves["learned"]["returns"][0][-1]
    assert result["results"]["learned"]["return"]["value"] == pytest.approx(last, abs=1e-4)
    assert picture.stat().st_size > 1000
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rl").glob("*.zip")}
    assert len(before) == 5
    main(study)
    assert json.loads(file.read_text()) == report
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(InvalidInputError, match=r"look-at-learned-7\.json is of a training with other arguments"):
        main(Study(out=study.out, tasks=study.tasks, seeds=study.seeds, **{**small, "steps": 128}))
    with pytest.raises(InvalidInputError, match=r"trials of another evaluation \(starts differ"):
        main(Study(out=study.out, tasks=study.tasks, seeds=study.seeds, **{**small, "starts": 4}))


def test_results_without_spread_are_exact() -> None:
    compared = compare(example())
    results, reached = compared["results"], compared["reached"]
    returns = {kind: result["return"]["value"] for kind, result in results.items()}
    # The reference world needs 4 s, as long as the learned one, for half its env steps.
    assert returns == pytest.approx({"learned": 3.5, "true": 4.0, "true, same seconds": 2.0, "tuned": 4.1})
    assert [result["steps"] for result in results.values()] == [400, 400, 200, 100]
    assert [result["cpu_seconds"] for result in results.values()] == [4, 8, 4, 2]
    assert [result["wall_seconds"] for result in results.values()] == [8, 16, 8, 4]
    assert results["learned"]["share"] == pytest.approx({"value": 3.5 / 4, "low": 3.5 / 4, "high": 3.5 / 4})
    assert {result["success"]["value"] for result in results.values()} == {0.5}
    assert reached["return"] == pytest.approx(3.8)
    for name, steps in {"true": 400, "tuned": 50, "saved": 350}.items():
        assert reached[name] == {"value": steps, "low": steps, "high": steps}


def test_nothing_is_saved_where_fine_tuning_fails() -> None:
    curves = example() | {"tuned": curves_of([3.6, 3.7], [1.0, 2.0])}
    assert compare(curves)["reached"]["tuned"]["value"] == 400


def test_all_is_saved_where_the_learned_world_suffices() -> None:
    curves = example() | {"learned": curves_of([3.9], [1.0])}
    reached = compare(curves)["reached"]
    assert (reached["tuned"]["value"], reached["saved"]["value"]) == (0, 400)


def test_all_of_the_reference_world_counts_where_it_is_faster() -> None:
    curves = example() | {"learned": curves_of([3.5], [100.0])}
    results = compare(curves)["results"]
    assert results["true, same seconds"] == results["true"]


def test_seeds_and_cases_have_a_part_in_the_intervals() -> None:
    """Differences of cases, which all policies share, leave shares alone; those of seeds do not."""
    of_cases, of_seeds = (
        compare({kind: replace(curves, returns=curves.returns * factors) for kind, curves in example().items()})
        for factors in (np.linspace(0.5, 1.5, CASES), np.linspace(0.5, 1.5, SEEDS)[:, None, None])
    )
    for compared in (of_cases, of_seeds):
        result = compared["results"]["learned"]["return"]
        assert result["low"] < 3.3 < result["value"] < 3.7 < result["high"]
    paired, unpaired = (compared["results"]["learned"]["share"] for compared in (of_cases, of_seeds))
    assert paired == pytest.approx({"value": 3.5 / 4, "low": 3.5 / 4, "high": 3.5 / 4})
    assert unpaired["low"] < 0.8 < unpaired["value"] < 0.95 < unpaired["high"]


def test_the_plot_has_a_row_for_each_task(tmp_path: Path) -> None:
    for tasks in (["one"], ["one", "other"]):
        plot(dict.fromkeys(tasks, compare(example())), tmp_path / f"{len(tasks)}.png")
    heights = [imageio.imread(tmp_path / f"{number}.png").shape[0] for number in (1, 2)]
    assert heights[1] == 2 * heights[0]
