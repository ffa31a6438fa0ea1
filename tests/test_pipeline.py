"""The whole pipeline by the commands of a user, with tiny models: the result is bad, but every step runs."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from docs.studies import ablation
from hwm_env.cli import main
from hwm_env.reference.mujoco_model import CAMERA_NAME, mujoco_xml
from hwm_env.reference.rendering import can_render
from hwm_env.scene.model import SceneConfig
from hwm_env.scene.robot_description import links_from_mjcf
from hwm_env.simulator import WorldSimulator
from hwm_env.training.scene import checkpoint as scene_checkpoint
from hwm_env.training.scene import workflow as scene_workflow
from hwm_env.types import ANGULAR_VELOCITY

pytestmark = pytest.mark.slow

TINY_MODEL = ("--model.num-layers", "1", "--model.num-heads", "2", "--model.width", "16", "--model.mlp-width", "16")
TINY_TOKENIZER = ("--tokenizer.coarse-width", "8", "--tokenizer.fine-width", "8", "--tokenizer.frame-width", "8")


def run(*argv: object) -> None:
    assert main([str(argument) for argument in argv]) == 0


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    root = tmp_path_factory.mktemp("pipeline")
    for split, episodes in (("train", 3), ("validation", 2)):
        clips = ("--clips-per-episode", 12, "--workers", 1)
        run("collect", root / f"{split}-raw", "--episodes", episodes, "--split", split, *clips)
    run(
        "train-tokenizer",
        root / "train-raw",
        "--out",
        root / "tokenizer",
        "--steps",
        2,
        "--batch-size",
        1,
        *TINY_TOKENIZER,
    )
    for split in ("train", "validation"):
        run("tokenize", root / f"{split}-raw", root / split, "--tokenizer", root / "tokenizer", "--offsets", 0, 8)
    splits = (root / "train", "--validation", root / "validation")
    recipe = ("--preset", "room-64", "--steps", 2, "--batch-size", 2, "--micro-batch-size", 2)
    few = ("--validation-samples", 2, "--preview-samples", 2)
    run("train", *splits, "--tokenizer", root / "tokenizer", "--out", root / "run", *recipe, *few, *TINY_MODEL)
    run("train-readout", root / "run/checkpoint", *splits, "--steps", 2, "--json", root / "readout.json")
    return root


def test_the_checkpoint_plays_in_the_environment(directory: Path) -> None:
    env = gymnasium.make("HWM-v0", checkpoint=str(directory / "run/checkpoint"), obs_mode="pixels_state")
    env.reset(seed=0)
    observation, _, _, _, info = env.step(np.zeros((17, 25), np.float32))
    assert env.observation_space.contains(observation)
    assert info["base_pose"].shape == (3,)


def test_the_readout_reports_its_error(directory: Path) -> None:
    error = json.loads((directory / "readout.json").read_text())
    of_base = error["validation"]["base_position"]
    assert of_base["count"] == 2 * (12 + 11)  # the second offset drops a clip of each episode
    assert 0 < of_base["median"] < of_base["p90"]
    assert "held_out" not in error


def test_the_readout_is_judged_in_closed_loops(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the held-out split is recorded
    splits = (directory / "train", "--validation", directory / "validation")
    recipe = ("--steps", 1, "--batch-size", 2, "--held-out-starts", 1)
    run("train-readout", directory / "run/checkpoint", *splits, *recipe, "--json", tmp_path / "readout.json")
    held_out = json.loads((tmp_path / "readout.json").read_text())["held_out"]
    assert held_out["starts"] == 1
    assert held_out["closed_loop"].keys() == {"1", "5", "10", "20"}
    assert held_out["closed_loop"]["5"].keys() == {"predicted", "recorded", "dead_reckoning", "never_moved"}


def test_a_scene_makes_the_world_carry_its_pose(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_checkpoint, "CALIBRATION_WINDOWS", 2)
    # The command has no option for it; a localisation with an untrained scene takes many passes.
    monkeypatch.setattr(scene_workflow, "SceneConfig", partial(SceneConfig, width=32))
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(directory / "run/checkpoint", checkpoint)
    (tmp_path / "robot.xml").write_text(mujoco_xml())
    few = ("--model.steps", 2, "--model.batch-size", 2, "--model.validation-clips", 2, "--model.warmup-steps", 1)
    splits = (directory / "train", "--validation", directory / "validation")
    robot = ("--robot", tmp_path / "robot.xml", "--camera", CAMERA_NAME, "--base", "base")
    command = ("train-scene", checkpoint, *splits, "--out", tmp_path / "scene", *robot, *few)
    run(*command, "--model-only")
    run(*command, "--resume", "--odometry.steps", 5)
    simulator = WorldSimulator.from_pretrained(checkpoint)
    scene, starts = simulator.scene, simulator.checkpoint.starts
    assert scene is not None
    assert scene.model.config.camera == links_from_mjcf(mujoco_xml(), CAMERA_NAME, "base")
    assert scene.use.unknown_above is not None
    # Three recordings have not been everywhere: begin in the middle of where they were.
    room = scene.model.config.map
    middle = torch.tensor([[(room.low_m[axis] + room.high_m[axis]) / 2 for axis in (0, 1)] + [0.0]])
    state = simulator.begin(starts.tokens[:1], starts.actions[:1], [0], poses=middle)
    turning = torch.zeros(1, 17, 25)
    turning[..., ANGULAR_VELOCITY] = 0.3
    belief = simulator.step(state, turning)[0].belief
    assert belief is not None
    assert belief.poses[0, 2].item() == pytest.approx(0.3 * 17 / 30, abs=1e-5)


def test_fidelity_writes_its_report_and_film_strip(directory: Path, tmp_path: Path) -> None:
    report, strip = tmp_path / "fidelity.json", tmp_path / "strip.png"
    where = ("--checkpoint", directory / "run/checkpoint", "--recording", directory / "validation-raw")
    run("fidelity", *where, "--starts", 2, "--steps", 3, "--json", report, "--film-strip", strip)
    content = json.loads(report.read_text())
    assert content["next_clip"]["starts"] == 2 * 3
    assert len(content["closed_loop"]["psnr"]) == 3
    assert strip.stat().st_size > 0


def test_variants_of_the_model_are_compared(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"num_layers": 1, "num_heads": 2, "width": 16, "mlp_width": 16}
    monkeypatch.setattr(ablation, "ROOM_64", replace(ablation.ROOM_64, **small))
    few = {"batch_size": 2, "micro_batch_size": 2, "validation_samples": 2, "preview_samples": 2}
    monkeypatch.setattr(ablation, "RECIPE", replace(ablation.RECIPE, **few))
    monkeypatch.setattr(ablation, "EPISODES", 2)
    monkeypatch.setattr(ablation, "CLOSED_LOOP_STEPS", 2)
    for name in ("train", "validation", "validation-raw", "tokenizer"):
        (tmp_path / name).symlink_to(directory / name)
    names = ["as it ships", "one target a sample"]
    ablation.main([str(tmp_path), *names[:1], "--minutes", "0"])
    ablation.main([str(tmp_path), *names, "--minutes", "0", "--json", str(tmp_path / "ablation.json")])
    content = json.loads((tmp_path / "ablation.json").read_text())
    assert list(content["variants"]) == names
    whole, single = (ablation.VariantResult(**content["variants"][name]) for name in names)
    assert (whole.steps, whole.targets, single.targets) == (1, 18, 2)
    assert whole.parameters == single.parameters
    assert len(whole.closed_loop_psnr) == 2
    assert len(ablation.table({"whole": whole}).splitlines()) == 3


def test_every_variant_can_be_trained() -> None:
    built = {name: ablation.changed(differences) for name, differences in ablation.VARIANTS.items()}
    for model, recipe in built.values():
        recipe.check_model(model)
    assert len(set(built.values())) == len(built)


def test_a_finished_run_is_not_started_over(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = (directory / "train", "--validation", directory / "validation", "--tokenizer", directory / "tokenizer")
    argv = ["train", *splits, "--out", directory / "run"]
    assert main([str(argument) for argument in argv]) == 2
    assert "already holds a training run" in capsys.readouterr().err


def test_data_of_another_tokenizer_are_refused(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ("--steps", 1, "--batch-size", 1, "--seed", 1, *TINY_TOKENIZER)
    run("train-tokenizer", directory / "train-raw", "--out", tmp_path / "tokenizer", *other)
    splits = (directory / "train", "--validation", directory / "validation", "--tokenizer", tmp_path / "tokenizer")
    assert main([str(argument) for argument in ["train", *splits, "--out", tmp_path / "run"]]) == 2
    assert "was tokenised by" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unknown_checkpoint_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fidelity", "--checkpoint", "nowhere", "--json", str(tmp_path / "report.json")]) == 2
    assert "unknown checkpoint 'nowhere'" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()
