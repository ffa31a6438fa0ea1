"""The comparison of trainings, with few steps."""

from functools import partial
from pathlib import Path

import pytest

from hwm_env.reference.rendering import can_render

pytest.importorskip("stable_baselines3")

from docs.studies import rl
from docs.studies.rl import Study, run
from docs.studies.rl_plot import plot


@pytest.mark.slow
def test_both_trainings_are_judged_in_the_reference_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")
    # PPO of four worlds takes at least 128 steps.
    monkeypatch.setattr(rl, "TrainingRun", partial(rl.TrainingRun, num_envs=4))
    monkeypatch.setattr(rl, "STEPS", {"face-target": 128})
    monkeypatch.setattr(rl, "WINDOW", 2)
    study = Study(out=tmp_path / "rl", tasks=("face-target",), seeds=(0,), starts=3)
    result = run(study)["face-target"]
    learned, true = result["policies"]
    assert (learned["trained_in"], true["trained_in"]) == ("learned", "true")
    assert result["return_ratio"] == pytest.approx(learned["return"]["value"] / true["return"]["value"])
    assert learned["episodes"] == 3
    assert learned["curve"]["steps"][-1] <= 128
    assert len(learned["curve"]["steps"]) == len(learned["curve"]["returns"]) >= 1
    trained = (tmp_path / "rl" / "face-target-learned-0.zip").stat().st_mtime_ns
    assert run(study)["face-target"] == result
    assert (tmp_path / "rl" / "face-target-learned-0.zip").stat().st_mtime_ns == trained
    plot({"face-target": result}, tmp_path / "rl.png")
    assert (tmp_path / "rl.png").stat().st_size > 1000


def test_curves_are_means_of_whole_windows() -> None:
    episodes = [{"steps": 10 * number, "return": float(number)} for number in range(2 * rl.WINDOW + 3)]
    curve = rl._smoothed(episodes)
    width = rl.WINDOW
    assert curve["steps"] == [10 * (width - 1), 10 * (2 * width - 1)]
    assert curve["returns"] == [(width - 1) / 2, width + (width - 1) / 2]
