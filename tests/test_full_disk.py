"""On a full disk of 3 MB, everything that writes raises an error of one line, and leaves earlier files unchanged."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import hwm_env  # noqa: F401 (registers the environments)
from docs.studies.rl_comparison import compare
from docs.studies.rl_plot import plot
from hwm_env import checkpoint, cli
from hwm_env.data.png import write_png
from hwm_env.data.videos import write_video
from hwm_env.data.writer import DatasetWriter
from hwm_env.envs.wrappers import RecordClips, RecordReplay
from hwm_env.errors import SavingError
from hwm_env.evaluation.policies.player import Unit
from hwm_env.evaluation.policies.trial_log import TrialLog
from hwm_env.evaluation.reports.certificate_page import write_certificate
from hwm_env.evaluation.reports.plots import write_loops
from hwm_env.evaluation.reports.reliability_plot import draw_reliability
from hwm_env.reference.rendering import can_render
from hwm_env.training.runs.monitor import TensorBoard
from hwm_env.training.runs.run import Run
from tests.conftest import make_tiny_checkpoint
from tests.disks import content_of, mounted
from tests.model.foreign import FIXTURE
from tests.studies.curves import example
from tests.training.worlds import TOKENIZER, write_world

DOCS = Path(__file__).parent.parent / "docs/results"
NOISE = np.random.default_rng(0).integers(256, size=(34, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted(tmp_path_factory.mktemp("full") / "disk", "size=3m") as directory:
        yield directory


def fill(disk: Path) -> None:
    """Fills the disk to the last byte."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            return


@pytest.fixture
def place(disk: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty directory on the disk."""
    (disk / "filler").unlink(missing_ok=True)
    directory = disk / str(abs(hash(request.node.name)))
    directory.mkdir()
    yield directory
    subprocess.run(["rm", "-r", str(directory)], check=True)


def report(name: str) -> dict:
    return json.loads((DOCS / f"{name}.json").read_text())


WRITERS: dict[str, Callable[[Path], object]] = {
    "video": lambda file: write_video(file, NOISE),
    "picture": lambda file: write_png(file, NOISE[0]),
    "loops": lambda file: write_loops(report("fidelity")["closed_loop"], None, file),
    "reliability": lambda file: draw_reliability(report("trust"), file),
    "certificate": lambda file: write_certificate(report("certificate"), file),
    "learning": lambda file: plot({"face-target": compare(example())}, file),
    "tokenizer": lambda file: TOKENIZER.save(file.with_suffix(".safetensors")),
    "log": lambda file: Run(file.parent, resume=True).log(step=1),
    "trials": lambda file: TrialLog(file.parent, {}).add(Unit("task", "policy", "true"), []),
    "curves": lambda file: TensorBoard(file.parent, 0).numbers(1, {"loss": 1.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_single_files(disk: Path, place: Path, name: str) -> None:
    names = {"tokenizer": "old.safetensors"}
    file = place / names.get(name, "old")
    file.write_bytes(b"what was there before")
    fill(disk)
    before = content_of(place)
    with pytest.raises(SavingError, match=r"could not write .*No space left on device.*make room") as caught:
        WRITERS[name](file)
    assert "\n" not in str(caught.value)
    # A log that could be created is empty.
    assert {path: content for path, content in content_of(place).items() if content} == before


def test_a_log_keeps_its_lines(disk: Path, place: Path) -> None:
    run, trials = Run(place / "run", resume=False), TrialLog(place, {})
    unit = Unit("task", "policy", "true")
    for _ in range(5):
        run.log(step=1, loss=0.5)
        trials.add(unit, [])
    # The log's last page is filled, so that only a part of a line fits.
    log = place / "run/log.jsonl"
    log.write_bytes(log.read_bytes() + b" " * (4090 - log.stat().st_size))
    before = content_of(place)
    fill(disk)
    with pytest.raises(SavingError, match=r"log\.jsonl.*No space left"):
        run.log(step=2, loss=0.25)
    assert content_of(place) == before


@pytest.mark.slow
@pytest.mark.parametrize("recorder", [RecordReplay, RecordClips])
def test_recorders_lose_nothing(tiny_checkpoint: Path, disk: Path, place: Path, recorder) -> None:
    """An episode that did not fit is written with the next one, after space was freed."""
    (place / "episode_00000.npz").write_bytes(b"an earlier run's")
    (place / "episode_00000.mp4").write_bytes(b"an earlier run's")
    before = content_of(place)
    env = recorder(gymnasium.make("HWM-v0", checkpoint=str(tiny_checkpoint), decoding_steps=1), place)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    fill(disk)
    with pytest.raises(SavingError, match=r"episode_00001\..*No space left on device"):
        env.reset(seed=1)
    assert content_of(place) == before
    (disk / "filler").unlink()
    env.step(env.action_space.sample())
    env.close()
    kind = next(iter(content_of(place).keys() - before.keys())).rpartition(".")[2]
    assert content_of(place).keys() - before.keys() == {f"episode_0000{number}.{kind}" for number in (1, 2)}


def test_data_sets_and_checkpoints(disk: Path, place: Path) -> None:
    loaded = make_tiny_checkpoint()
    checkpoint.save(loaded, place / "checkpoint")
    writer = DatasetWriter(place / "data")
    shard = {"states": np.zeros((20, 25), np.float32), "segments": np.zeros(20, np.int32)}
    writer.write_shard(0, **shard)
    fill(disk)
    before = content_of(place)
    for write in (
        lambda: checkpoint.save(replace(loaded, provenance={"note": "later"}), place / "checkpoint"),
        lambda: writer.write_shard(0, **shard),
        lambda: writer.write_shard(1, **shard),
        lambda: writer.finish(),
    ):
        with pytest.raises(SavingError, match="No space left on device"):
            write()
    assert content_of(place) == before
    assert checkpoint.load(place / "checkpoint").provenance == {}


@pytest.fixture(scope="module")
def inputs(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The inputs of the commands, on another disk, by their names on the command lines below."""
    directory = tmp_path_factory.mktemp("inputs")
    write_world(directory / "world")
    TOKENIZER.save(directory / "tokenizer")
    rng, frames = np.random.default_rng(0), 3 * 17
    writer = DatasetWriter(directory / "recording", token_grid=(8, 8), image_size=(64, 64))
    writer.write_shard(
        0,
        states=np.zeros((frames, 25), np.float32),
        segments=np.zeros(frames, np.int32),
        tokens=rng.integers(64_000, size=(3, 3, 8, 8), dtype=np.int32),
        frames=rng.integers(256, size=(frames, 64, 64, 3), dtype=np.uint8),
    )
    writer.finish()
    env = RecordReplay(gymnasium.make("HWM-v0", checkpoint=str(tiny_checkpoint), decoding_steps=1), directory)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
    names = {name.upper(): directory / name for name in ("world", "tokenizer", "recording")}
    return {**names, "FOREIGN": FIXTURE, "CHECKPOINT": tiny_checkpoint, "REPLAY": directory / "episode_00000.npz"}


TINY = (
    "--model.num-layers 1 --model.shared-layers-start 1 --model.num-heads 2 --model.width 16 --model.mlp-width 16 "
    "--model.num-past-clips 2 --steps 4 --batch-size 2 --micro-batch-size 2 --report-every 2 --validation-samples 2 "
    "--preview-samples 2"
)
COMMANDS = {
    "inspect": "inspect WORLD --json old.json",
    "contact sheet": "inspect RECORDING --contact-sheet old.png",
    "generate": "generate CHECKPOINT RECORDING --out new --samples 1 --steps 1 --decoding-steps 1",
    "replay": "replay REPLAY --checkpoint CHECKPOINT --json old.json",
    "video": "replay REPLAY --checkpoint CHECKPOINT --video old.mp4",
    "tokenize": "tokenize RECORDING new --tokenizer CHECKPOINT",
    "train-tokenizer": "train-tokenizer RECORDING --out new --steps 1 --batch-size 1 --validation-clips 1 "
    "--tokenizer.coarse-width 8 --tokenizer.fine-width 8 --tokenizer.frame-width 8",
    "train": f"train WORLD --validation WORLD --tokenizer TOKENIZER --out new --device cpu {TINY}",
    "collect": "collect new --episodes 1 --clips-per-episode 1 --workers 1",
    "videos": "collect new --episodes 1 --clips-per-episode 1 --workers 1 --videos",
    "evaluate": "evaluate policies.smooth_random:smooth_random --checkpoint CHECKPOINT --tasks face-target --starts 2 "
    "--worlds learned --max-steps 1 --out new",
    "import-checkpoint": "import-checkpoint FOREIGN new",
}


ROOM = 40_000
"""Free bytes, enough for a part of what these commands write."""
CASES = [(name, 0) for name in COMMANDS] + [
    (name, ROOM) for name in ("generate", "train-tokenizer", "train", "collect", "import-checkpoint")
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "room"), CASES)
def test_commands(
    inputs: dict[str, Path], disk: Path, place: Path, name: str, room: int, capfd: pytest.CaptureFixture[str]
) -> None:
    if name in ("collect", "videos") and not can_render():
        pytest.skip("MuJoCo cannot render on this machine")
    for old in ("old.json", "old.png", "old.mp4"):
        (place / old).write_bytes(b"what was there before")
    (place / "room").write_bytes(bytes(room))
    fill(disk)
    (place / "room").unlink()
    before = content_of(place)
    words = COMMANDS[name].split()
    outputs = {word: place / word for word in words if word.startswith(("old", "new"))}
    assert cli.main([str({**inputs, **outputs}.get(word, word)) for word in words]) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    line = error.splitlines()[-1]
    assert line.startswith("hwm-env: could not ")
    assert "No space left on device" in line or "write failed" in line
    assert "room" in line.rpartition(":")[2]
    after = content_of(place)
    assert {path: content for path, content in after.items() if path in before} == before
    # The files of a data set or run are complete, and no file marks it as finished.
    assert not [path for path in after if path.endswith((".tmp", "new/metadata.json")) or "/." in path]
    for weights in place.rglob("new/**/model.safetensors"):
        checkpoint.load(weights.parent)


def test_what_was_measured_is_printed_whatever_happens_to_the_files(
    inputs: dict[str, Path], disk: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hwm_env.evaluation.worlds.certificate_run.HeldOut", lambda *_, **__: None)
    monkeypatch.setattr("hwm_env.evaluation.worlds.certificate_run.certify", lambda *_, **__: report("certificate"))
    fill(disk)
    checkpoint, recording = str(inputs["CHECKPOINT"]), str(inputs["RECORDING"])
    argv = ["certify", checkpoint, "--recording", recording, "--page", str(place / "new.html")]
    assert cli.main(argv) == 2
    printed = capfd.readouterr()
    assert json.loads(printed.out)["closed_loop"] == report("certificate")["closed_loop"]
    assert printed.err.splitlines()[-1].startswith(f"hwm-env: could not write {place / 'new.html'}")
    assert content_of(place) == {}


@pytest.mark.slow
def test_a_full_standard_output() -> None:
    lines = ("import sys", "from hwm_env import cli", "from hwm_env.training.world_model import preset_table")
    lines += ("preset_table.table = lambda presets: '1'", "sys.exit(cli.main(['presets']))")
    code = "\n".join(lines)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line
