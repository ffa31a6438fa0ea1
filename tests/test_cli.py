"""Exit codes, help, and what each subcommand passes on; the work itself is tested where it is done."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from hwm_env import cli
from hwm_env.errors import DatasetError, InvalidInputError


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
    assert calls == [((Path("there"),), options)]


def test_train_tokenizer(stand_in, capsys: pytest.CaptureFixture[str]) -> None:
    calls = stand_in("hwm_env.training.tokenizer", "train_tokenizer", TokenizerTrainingConfig=StandInConfig)
    argv = ["train-tokenizer", "data", "--out", "there", "--steps", "5", "--validation", "held-out", "--resume"]
    assert exit_code(*argv) == 0
    assert calls == [((Path("data"), Path("there"), StandInConfig(steps=5), True), {"validation": Path("held-out")})]

    assert exit_code("train-tokenizer", "data", "--out", "there", "--steps", "0") == 2
    assert "steps must be at least 1, got 0" in capsys.readouterr().err
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["tokenizer.safetensors"], "tokenizer in {}"),
        (["tokenizer.safetensors", "config.json"], "tokenizer of checkpoint {}"),
        ([], "tokenizer of checkpoint {}"),
    ],
)
def test_tokenize(stand_in, tmp_path: Path, files: list[str], expected: str) -> None:
    source = tmp_path / "source"
    for name in files:
        source.mkdir(exist_ok=True)
        (source / name).touch()

    def load_checkpoint(name: str) -> SimpleNamespace:
        return SimpleNamespace(tokenizer=f"tokenizer of checkpoint {name}")

    stand_in("hwm_env.checkpoint", "unused", load=load_checkpoint)
    tokenizer = SimpleNamespace(load=lambda path: f"tokenizer in {path}")
    stand_in("hwm_env.tokenizers.tiny", "unused", TinyTokenizer=tokenizer)
    calls = stand_in("hwm_env.tokenizers.recordings", "tokenize_recordings")
    assert exit_code("tokenize", "data", "there", "--tokenizer", str(source), "--offsets", "0", "4", "8") == 0
    assert calls == [((Path("data"), Path("there"), expected.format(source), (0, 4, 8)), {})]


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
