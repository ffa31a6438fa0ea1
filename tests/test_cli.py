"""Exit codes, help, and what each subcommand passes on; the work itself is tested where it is done."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from hwm_env import cli
from hwm_env.data.state_tables import StateMapping
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.training.recipe import TRAINING_PRESETS, TrainingConfig
from hwm_env.training.stopping import TrainingStopped


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StandInConfig:
    """Stands in for the real configuration."""

    steps: int = 100
    """Optimiser steps."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InvalidInputError(f"steps must be at least 1, got {self.steps}")


Call = tuple[tuple[object, ...], dict[str, object]]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Call]]:
    """Puts a function that notes its calls into a module, in place of one that would work for minutes."""

    def install(name: str, function: str, error: Exception | None = None, **content: object) -> list[Call]:
        calls: list[Call] = []

        def note(*args: object, **kwargs: object) -> None:
            calls.append((args, kwargs))
            if error is not None:
                raise error

        module = ModuleType(name)
        vars(module).update({function: note, **content})
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        monkeypatch.setattr(f"{parent}.{child}", module, raising=False)
        return calls

    return install


def exit_code(*argv: str) -> object:
    """What the shell would see."""
    try:
        return cli.main(argv)
    except SystemExit as stop:
        return stop.code


def test_collect(stand_in) -> None:
    calls = stand_in("hwm_env.reference.collect", "collect")
    assert exit_code("collect", "there", "--episodes", "7", "--split", "val", "--workers", "1") == 0
    options = {"num_episodes": 7, "seed": 0, "split": "val", "clips_per_episode": 24, "image_size": 64, "workers": 1}
    options["behaviour"] = "teleoperator"
    assert calls == [((Path("there"),), options)]


def test_train_tokenizer(stand_in, capsys: pytest.CaptureFixture[str]) -> None:
    calls = stand_in("hwm_env.training.tokenizer", "train_tokenizer", TokenizerTrainingConfig=StandInConfig)
    argv = ["train-tokenizer", "data", "--out", "there", "--steps", "5", "--validation", "held-out", "--resume"]
    assert exit_code(*argv) == 0
    options = {"validation": Path("held-out"), "initial": None}
    assert calls == [((Path("data"), Path("there"), StandInConfig(steps=5), True), options)]

    assert exit_code("train-tokenizer", "data", "--out", "there", "--steps", "0") == 2
    assert "steps must be at least 1, got 0" in capsys.readouterr().err
    assert len(calls) == 1


def test_tokenize(stand_in, tmp_path: Path) -> None:
    (tmp_path / "mapping.json").write_text('{"hz": 50}')
    stand_in("hwm_env.checkpoint", "unused", load_tokenizer=lambda source, device: f"{source} on {device}")
    calls = stand_in("hwm_env.tokenizers.recordings", "tokenize_recordings")
    argv = ["tokenize", "data", "there", "--tokenizer", "room-64", "--offsets", "0", "4", "8"]
    assert exit_code(*argv, "--mapping", str(tmp_path / "mapping.json"), "--image-size", "64", "--workers", "3") == 0
    (((recordings, out, load, offsets), options),) = calls
    assert (recordings, out, offsets) == (Path("data"), Path("there"), (0, 4, 8))
    assert load() == "room-64 on cpu"
    assert options == {"mapping": StateMapping(hz=50), "image_size": 64, "workers": 3, "device": "cpu"}


@pytest.fixture
def training(stand_in) -> Callable[..., list[Call]]:
    """Everything around a training stands in; gives its calls."""

    def install(error: Exception | None = None) -> list[Call]:
        stand_in("hwm_env.checkpoint", "unused", load_tokenizer=lambda source: source, load=None)
        metadata = SimpleNamespace(extra={"split": "train"})
        described = {"metadata": metadata, "has": lambda file: False}
        stand_in("hwm_env.data.reader", "unused", Dataset=lambda path: SimpleNamespace(path=path, **described))
        held_out = {"hold_out": lambda data: (data, "a part"), "fitted": lambda model, data, tokenizer: model}
        stand_in("hwm_env.training.split", "unused", **held_out)
        stand_in("hwm_env.evaluation.reports.comparison_videos", "write_comparisons")
        stand_in("hwm_env.simulator", "unused", WorldSimulator=None)
        return stand_in("hwm_env.training.world_model", "train_world_model", error)

    return install


def test_train_takes_its_defaults_from_the_preset(training) -> None:
    calls = training()
    argv = ["train", "data", "--tokenizer", "t", "--out", "there"]
    assert exit_code(*argv) == 0
    assert exit_code(*argv, "--preset", "room-64", "--steps", "7", "--model.width", "40", "--validation", "v") == 0
    (plain, plain_options), (changed, _) = calls
    assert plain[1:4] == ("a part", "t", Path("there"))
    assert plain[4:] == (TRAINING_PRESETS["masked_hwm_full"].model, TrainingConfig())
    assert plain_options["provenance"]["data"] == {"split": "train"}  # type: ignore[index]
    room_64 = TRAINING_PRESETS["room-64"]
    assert changed[1].path == Path("v")  # type: ignore[attr-defined]
    assert changed[4:] == (
        dataclasses.replace(room_64.model, width=40),
        dataclasses.replace(room_64.training, steps=7),
    )


def test_an_unknown_preset_is_bad_input(training, capsys: pytest.CaptureFixture[str]) -> None:
    calls = training()
    assert exit_code("train", "data", "--tokenizer", "t", "--out", "there", "--preset", "huge") == 2
    assert "--preset must be one of quick, room-64" in capsys.readouterr().err
    assert calls == []


def test_the_help_shows_the_presets_values(capsys: pytest.CaptureFixture[str]) -> None:
    for preset, steps in (("masked_hwm_full", 60_000), ("room-64", 2800)):
        assert exit_code("train", "--preset", preset, "--help") == 0
        assert f"Optimizer steps. (default: {steps})" in capsys.readouterr().out


def test_a_training_that_a_signal_stopped_says_so(training, capsys: pytest.CaptureFixture[str]) -> None:
    training(TrainingStopped(15, 41))
    assert exit_code("train", "data", "--tokenizer", "t", "--out", "there") == 128 + 15
    assert "stopped by signal 15 after step 41; its state is saved" in capsys.readouterr().err


@pytest.mark.parametrize("error", [DatasetError("video_3.bin is short"), FileNotFoundError("video_3.bin is short")])
def test_bad_input_is_exit_code_2(stand_in, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    stand_in("hwm_env.reference.collect", "collect", error)
    assert exit_code("collect", "there") == 2
    captured = capsys.readouterr()
    assert captured.err == "hwm-env: video_3.bin is short\n"
    assert captured.out == ""


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug")])
def test_bugs_are_not_hidden(stand_in, error: Exception) -> None:
    stand_in("hwm_env.reference.collect", "collect", error)
    with pytest.raises(type(error), match="a bug"):
        cli.main(["collect", "there"])


@pytest.mark.parametrize(
    "argv",
    [[], ["unknown"], ["collect"], ["collect", "there", "--episodes", "many"], ["collect", "there", "--unknown", "1"]],
)
def test_bad_options_are_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*argv) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(command, "--help") == 0
    shown = capsys.readouterr().out
    assert f"hwm-env {command}" in shown
    assert (cli.COMMANDS[command].__doc__ or "missing").split()[0] in shown


def test_help_names_the_commands_and_is_quick() -> None:
    script = (
        "import sys; from hwm_env.cli import main\ntry: main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for command in cli.COMMANDS:
        assert command in shown
