"""Every command from its words to its results, with tiny data; only what would take long is replaced."""

import json
import logging
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from hwm_env import checkpoint as checkpoints
from hwm_env.cli import main
from hwm_env.cli.commands import COMMANDS
from hwm_env.cli.parsing import parse
from hwm_env.data.reader import Dataset
from hwm_env.data.writer import DatasetWriter
from hwm_env.envs.wrappers import RecordReplay
from hwm_env.evaluation.worlds.certificate_run import CertificationConfig, certify_checkpoint
from hwm_env.evaluation.worlds.inverse_dynamics import InverseDynamicsConfig
from hwm_env.evaluation.worlds.risk_loops import SOURCES, RiskLoops
from hwm_env.reference.rendering import can_render
from hwm_env.reporting import Caller, Stamp, play_hint
from hwm_env.training.runs.run import stored_config
from hwm_env.training.scene.workflow import SceneRunConfig
from hwm_env.training.world_model.recipe import TRAINING_PRESETS
from hwm_env.training.world_model.workflow import WorldModelRunConfig, _scene_hint
from hwm_env.trust.calibration import FEATURES
from tests.model.foreign import FIXTURE
from tests.training.worlds import TOKENIZER, write_world

EPISODES, CLIPS = 4, 10
STAMP = set(Stamp.__dataclass_fields__)
TINY_MODEL = (
    "--model.num-layers 1 --model.shared-layers-start 1 --model.num-heads 2 --model.width 16 --model.mlp-width 16 "
    "--model.num-past-clips 2 --steps 2 --batch-size 2 --micro-batch-size 2 --report-every 2 --validation-samples 2 "
    "--preview-samples 2"
)
TINY_TOKENIZER = (
    "--steps 1 --batch-size 1 --validation-clips 1 --tokenizer.coarse-width 8 --tokenizer.fine-width 8 "
    "--tokenizer.frame-width 8"
)
LINES = {
    "collect": "collect new --episodes 1 --clips-per-episode 1 --workers 1 --split val --behaviour both",
    "train-tokenizer": f"train-tokenizer RECORDING --out new --validation RECORDING {TINY_TOKENIZER}",
    "tokenize": "tokenize RECORDING new --tokenizer CHECKPOINT --offsets 0 4",
    "inspect": "inspect RECORDING --tokenizer CHECKPOINT --json new.json --contact-sheet new.png",
    "train": f"train WORLD --validation WORLD --tokenizer TOKENIZER --out new --device cpu {TINY_MODEL}",
    "train-readout": "train-readout MINE RECORDING --validation RECORDING --steps 1 --batch-size 2 --json new.json",
    "train-scene": "train-scene MINE RECORDING --validation RECORDING --out new --model.steps 3 --odometry.seed 4",
    "train-decoder": "train-decoder MINE RECORDING --validation RECORDING --out new --steps 1 --decoder-blocks 4 1 1",
    "import-checkpoint": "import-checkpoint FOREIGN new",
    "export": "export CHECKPOINT --out new --decoding-steps 1",
    "generate": "generate CHECKPOINT RECORDING --out new --samples 1 --steps 1 --decoding-steps 1 --json new.json",
    "fidelity": "fidelity --checkpoint CHECKPOINT --recording RECORDING --starts 2 --steps 1 --order random "
    "--decoding-steps 1 --json new.json --film-strip new.png --plot plot.png",
    "calibrate": "calibrate MINE --data RECORDING --recording RECORDING --episodes 8 --steps 1 --bound-db 12 "
    "--json new.json --plot new.png",
    "certify": "certify CHECKPOINT --recording RECORDING --starts 4 --steps 1 --json new.json --page new.html",
    "evaluate": "evaluate policies.smooth_random:smooth_random --checkpoint CHECKPOINT --tasks face-target --starts 3 "
    "--worlds learned --max-steps 1 --out new --true-results TRUTH --json new.json --page new.html",
    "serve": "serve CHECKPOINT --port 0 --decoding-steps 1",
    "replay": "replay REPLAY --checkpoint CHECKPOINT --json new.json --video new.mp4",
    "presets": "presets",
}
"""A command line each; words in capitals are inputs, those that begin with "new" are outputs."""


def test_every_command_is_run() -> None:
    assert LINES.keys() == COMMANDS.keys()


@pytest.fixture(scope="module")
def inputs(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("inputs")
    write_world(directory / "world")
    TOKENIZER.save(directory / "tokenizer")
    loaded, rng, frames = checkpoints.load(tiny_checkpoint), np.random.default_rng(0), EPISODES * CLIPS * 17
    writer = DatasetWriter(
        directory / "recording", token_grid=(8, 8), image_size=(64, 64), tokenizer=loaded.tokenizer.identity
    )
    writer.write_shard(
        0,
        states=rng.normal(size=(frames, 25)).astype(np.float32),
        segments=np.arange(EPISODES, dtype=np.int32).repeat(CLIPS * 17),
        tokens=rng.integers(64_000, size=(EPISODES * CLIPS, 3, 8, 8), dtype=np.int32),
        frames=rng.integers(256, size=(frames, 64, 64, 3), dtype=np.uint8),
        poses=rng.normal(size=(frames, 3)).astype(np.float32),
    )
    writer.finish()
    env = RecordReplay(gymnasium.make("HWM-v0", checkpoint=str(tiny_checkpoint), decoding_steps=1), directory)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
    (directory / "truth.json").write_text('{"face-target": {"smooth random": [true, false]}}')
    names = {name.upper(): directory / name for name in ("world", "tokenizer", "recording")}
    files = {"TRUTH": directory / "truth.json", "REPLAY": directory / "episode_00000.npz"}
    return {**names, **files, "FOREIGN": FIXTURE, "CHECKPOINT": tiny_checkpoint}


@pytest.fixture
def run(inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command line; paths are below `tmp_path`, where MINE is a copy of the checkpoint."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(inputs["CHECKPOINT"], tmp_path / "mine")

    def run(command: str) -> str:
        places = {**inputs, "MINE": Path("mine")}
        words = [str(places.get(word, word)) for word in LINES[command].split()]
        assert main(words) == 0
        return shlex.join(["hwm-env", *words])

    return run


def check_stamp(stamp: dict[str, Any], command: str, episodes: int) -> None:
    assert stamp.keys() >= STAMP
    assert (stamp["command"], stamp["episodes"], stamp["precision"]) == (command, episodes, "float32")
    assert stamp["decoding"].keys() >= {"steps", "temperature"}


def read(file: str) -> Any:
    return json.loads(Path(file).read_text())


@pytest.mark.slow
def test_collect(run: Any) -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    run("collect")
    dataset = Dataset(Path("new"))
    assert dataset.metadata.extra == {
        "split": "val",
        "seed": 0,
        "source": "hwm_env.reference",
        "behaviour": "both",
    }
    assert [len(shard.states) for shard in dataset.shards] == [17]


def test_train_tokenizer(run: Any) -> None:
    run("train-tokenizer")
    assert checkpoints.load_tokenizer("new").config.coarse_width == 8  # type: ignore[attr-defined]
    assert json.loads(Path("new/log.jsonl").read_text())["step"] == 1


def test_tokenize(run: Any, inputs: dict[str, Path]) -> None:
    run("tokenize")
    dataset = Dataset(Path("new"))
    assert len(dataset.shards) == 2
    assert dataset.metadata.tokenizer == checkpoints.load(inputs["CHECKPOINT"]).tokenizer.identity


def test_inspect(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect")
    assert read("new.json")["segments"]
    assert "segments" in capsys.readouterr().out
    assert Path("new.png").stat().st_size > 0


@pytest.mark.slow
def test_train(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("accelerate")
    run("train")
    loaded = checkpoints.load("new/checkpoint")
    assert (loaded.model.config.width, loaded.provenance["preset"]) == (16, "room-64")
    assert "checkpoint='new/checkpoint', task=None" in capsys.readouterr().out


@pytest.mark.slow
def test_the_hints_of_a_training_work_as_they_stand(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("accelerate")
    write_world(tmp_path / "my data", with_poses=True)
    options = LINES["train"].partition("--device")[2].split()[1:]
    splits = ["my data", "--validation", "my data"]
    TOKENIZER.save(tmp_path / "tokenizer")
    assert main(["train", *splits, "--tokenizer", "tokenizer", "--out", "my run", "--device", "cpu", *options]) == 0
    *_, played, reason, command = capsys.readouterr().out.splitlines()
    assert "so that it does not drift" in reason
    program, *words = shlex.split(command)
    assert program == "hwm-env"
    _, config = parse(words)
    assert config == SceneRunConfig(
        checkpoint=Path("my run/checkpoint"), data=Path("my data"), validation=Path("my data"), out=Path("my run/scene")
    )
    env = eval(played.partition("play it with ")[2], {"gymnasium": gymnasium})
    env.reset(seed=0)
    env.close()


def test_hints_name_the_tokenizer_that_a_checkpoint_does_not_hold() -> None:
    config = WorldModelRunConfig.of_preset(data=Path("d"), tokenizer="my cosmos", out=Path("o"))
    hint = _scene_hint(config, config.tokenizer, has_poses=True)
    assert hint.endswith("\nHWM_TOKENIZER='my cosmos' hwm-env train-scene o/checkpoint d --validation d --out o/scene")
    expected = "gymnasium.make('HWM-v0', checkpoint='o/checkpoint', tokenizer='my cosmos', task=None)"
    assert play_hint(Path("o/checkpoint"), "my cosmos") == expected


def test_train_readout(run: Any, inputs: dict[str, Path]) -> None:
    run("train-readout")
    assert read("new.json")["validation"]["base_position"]["count"] == EPISODES * CLIPS
    assert "readout" in checkpoints.load("mine").provenance
    assert "readout" not in checkpoints.load(inputs["CHECKPOINT"]).provenance


def test_train_decoder(run: Any, inputs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    run("train-decoder")
    mine, before = checkpoints.load("mine"), checkpoints.load(inputs["CHECKPOINT"])
    assert mine.tokenizer.config.decoder_blocks == (4, 1, 1)  # type: ignore[attr-defined]
    assert mine.tokenizer.token_identity == before.tokenizer.identity
    assert mine.provenance["decoder"]["after"].keys() == {"validation_psnr"}
    assert "put the decoder into mine; PSNR in dB: {'validation_psnr': " in capsys.readouterr().out


def test_train_scene(run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def add_scene(checkpoint: checkpoints.Checkpoint, *arguments: Any, **options: Any) -> checkpoints.Checkpoint:
        calls.append((arguments, options))
        return replace(checkpoint, provenance={"scene": {"validation": "good"}})

    monkeypatch.setattr("hwm_env.training.scene.workflow.add_scene", add_scene)
    run("train-scene")
    (((data, validation, out, shape, recipes), options),) = calls
    assert (data.directory, out) == (validation.directory, Path("new"))
    assert (recipes.model.steps, recipes.odometry.seed, shape.camera) == (3, 4, None)
    assert options == {"initial": None, "resume": False, "device": "auto"}
    assert checkpoints.load("mine").provenance == {"scene": {"validation": "good"}}
    assert "put the scene into mine: good" in capsys.readouterr().out
    assert main(["train-scene", "mine", "data", "--validation", "v", "--out", "out", "--limbs", "left_hand"]) == 2
    assert "--limbs left_hand" in capsys.readouterr().err


def test_a_scene_model_trained_alone_is_finished_with_other_recordings(
    run: Any, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read("mine/config.json")
    recording = str(inputs["RECORDING"])
    common = ["--validation", recording, "--out", "new", "--rays-per-side", "2", "--samples-per-ray", "5"]
    common += ["--model.steps", "1", "--model.batch-size", "2", "--model.validation-clips", "2"]
    assert main(["train-scene", "mine", recording, *common, "--model-only", "--device", "cpu"]) == 0
    assert read("mine/config.json") == before
    shapes = []

    def add_scene(
        checkpoint: checkpoints.Checkpoint, data: Any, validation: Any, out: Path, shape: Any, *_: Any, **options: Any
    ) -> checkpoints.Checkpoint:
        shapes.append(shape)
        return replace(checkpoint, provenance={"scene": {"validation": "good"}})

    monkeypatch.setattr("hwm_env.training.scene.workflow.add_scene", add_scene)
    elsewhere = Path(shutil.copytree(recording, "elsewhere"))
    for path in elsewhere.rglob("poses_*.bin"):
        (np.fromfile(path, np.float32) + 1).tofile(path)
    assert main(["train-scene", "mine", "elsewhere", *common, "--resume"]) == 0
    assert main(["train-scene", "mine", "elsewhere", *common]) == 0
    finished, new = shapes
    assert json.loads(json.dumps(asdict(finished))) == json.loads(json.dumps(stored_config(Path("new"))["scene"]))
    assert (new.rays_per_side, finished.rays_per_side, new.map.samples, finished.map.samples) == (2, 2, 5, 5)
    assert new.map.low_m[0] == pytest.approx(finished.map.low_m[0] + 1)


def test_a_scene_that_starts_from_another_keeps_the_bounds_of_its_map(
    run: Any, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def add_scene(checkpoint: checkpoints.Checkpoint, *arguments: Any, **options: Any) -> checkpoints.Checkpoint:
        calls.append((arguments[3], options["initial"]))
        return replace(checkpoint, provenance={"scene": {"validation": "good"}})

    monkeypatch.setattr("hwm_env.training.scene.workflow.add_scene", add_scene)
    recording = str(inputs["RECORDING"])
    command = ["train-scene", "mine", recording, "--validation", recording, "--out", "new", "--samples-per-ray", "5"]
    assert main([*command, "--initial", "room-64"]) == 0
    ((shape, initial),) = calls
    begun = checkpoints.load("room-64").scene
    assert begun is not None
    assert shape.map == replace(begun.model.config.map, samples=5)
    assert initial.positions.equal(begun.model.positions)
    assert main([*command, "--initial", "mine"]) == 2
    assert "mine, has no scene" in capsys.readouterr().err


def test_serve(run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    served, closed = [], []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: served.append((self.config.app, sockets)))
    handler = logging.NullHandler()
    monkeypatch.setattr(handler, "close", lambda: closed.append(handler))
    run("serve")
    assert not closed, "logging of this process is left alone"
    ((_, (listener,)),) = served
    assert listener.fileno() == -1, "the socket is closed at the end"
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")


def test_import_checkpoint(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run("import-checkpoint")
    assert checkpoints.load("new").provenance["imported_from"] == FIXTURE.name
    assert "gymnasium.make('HWM-v0', checkpoint='new', task=None)" in capsys.readouterr().out


def test_export(run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("hwm_env.exporting.onnx_bytes", lambda _, name, key: name.encode())
    run("export")
    names = {"world.json", "starts.npz", "play.py", "history.onnx", "clip.onnx", "frames.onnx"}
    assert {path.name for path in Path("new").iterdir()} == names
    assert "play it: python new/play.py" in capsys.readouterr().out


@pytest.mark.slow
def test_generate(run: Any) -> None:
    command = run("generate")
    metrics = read("new.json")
    assert metrics == read("new/metrics.json")
    check_stamp(metrics["stamp"], command, 1)
    assert Path("new/sample_000_comparison.mp4").stat().st_size > 0


def test_fidelity(run: Any, inputs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    command = run("fidelity")
    report = read("new.json")
    assert json.loads(capsys.readouterr().out) == report
    check_stamp(report["stamp"], command, 2)
    identity = checkpoints.load(inputs["CHECKPOINT"]).identity
    assert report["checkpoint"] == {"name": str(inputs["CHECKPOINT"]), "identity": identity}
    assert (report["decoding"]["order"], report["decoding"]["precision"]) == ("random", "float32")
    assert report["next_clip"]["starts"] == 2
    assert len(report["video_metrics"]["ssim"]["model"]) == 1
    assert report["video_metrics"]["fvd"] is None
    assert "still_scene" in report
    for picture in ("new.png", "plot.png"):
        assert Path(picture).stat().st_size > 0


@pytest.mark.slow
def test_calibrate(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, shape = np.random.default_rng(0), (len(SOURCES), 8, 1)
    features = {name: rng.uniform(size=shape) for name in FEATURES} | {"steps": np.ones(shape)}
    loops = RiskLoops(psnr_db=rng.uniform(10, 14, shape), features=features)
    calls = []
    monkeypatch.setattr(
        "hwm_env.evaluation.worlds.calibration_run.run_risk_loops",
        lambda *_, **options: calls.append(options) or loops,
    )
    command = run("calibrate")
    report = read("new.json")
    check_stamp(report["stamp"], command, 8)
    assert calls == [{"num_episodes": 8, "num_steps": 1, "seed": 0, "with_painted_offset": False}]
    trust = checkpoints.load("mine").trust
    assert trust is not None
    assert trust.calibration.bound_psnr_db == report["calibration"]["bound_psnr_db"] == 12
    assert (report["checkpoint"]["name"], report["decoding"]["history"]) == ("mine", "streaming")


@pytest.mark.slow
def test_certify(run: Any, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwm_env.evaluation.worlds.inverse_dynamics.FEWEST_PAIRS", 1)
    quick = InverseDynamicsConfig(steps=2)
    monkeypatch.setattr("hwm_env.evaluation.worlds.certificate.InverseDynamicsConfig", lambda seed: quick)
    command = run("certify")
    report = read("new.json")
    check_stamp(report["stamp"], command, 4)
    assert report["stamp"]["checkpoint"] == str(inputs["CHECKPOINT"])
    assert "verdict" in report
    assert command.split()[1] in Path("new.html").read_text()
    config = CertificationConfig(checkpoint=str(inputs["CHECKPOINT"]), recording=inputs["RECORDING"], starts=4, steps=1)
    shown: list[str] = []
    again = certify_checkpoint(config, Caller(show=shown.append))
    assert json.loads(shown[0]) == json.loads(json.dumps(again))
    assert again["stamp"].pop("command") == ""
    assert json.loads(json.dumps(again["closed_loop"])) == report["closed_loop"]


def test_evaluate(run: Any, inputs: dict[str, Path]) -> None:
    command = run("evaluate")
    report = read("new.json")
    check_stamp(report["stamp"], command, 3)
    assert report["command"] == command
    # What the trials depend on is kept too.
    assert report["stamp"].items() >= {"starts": 3, "seed": 0, "max_steps": 1, "learned_as": "carried"}.items()
    (policy,) = report["tasks"]["face-target"]["policies"]
    assert policy["name"] == "smooth random"
    assert "corrected_success" in policy


def test_replay(run: Any) -> None:
    run("replay")
    assert read("new.json") == {"steps": 1, "equal": True, "first_differing_step": []}
    assert Path("new.mp4").stat().st_size > 0


def test_presets(run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("hwm_env.training.world_model.preset_table.table", ", ".join)
    run("presets")
    assert "room-64" in capsys.readouterr().out


def test_python_programs_take_presets_too() -> None:
    common: dict[str, Any] = {"data": Path("data"), "tokenizer": "room-64", "out": Path("out")}
    config, quick = WorldModelRunConfig.of_preset(**common), WorldModelRunConfig.of_preset("quick", keep=1, **common)
    assert (config.preset, config.model) == ("room-64", TRAINING_PRESETS["room-64"].model)
    assert (quick.preset, quick.recipe, quick.keep) == ("quick", TRAINING_PRESETS["quick"].training, 1)
