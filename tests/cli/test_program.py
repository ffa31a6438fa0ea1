"""Exit codes, errors in one line, and what is checked before a command's work begins."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwm_env import cli
from hwm_env.cli import checks
from hwm_env.cli.commands import COMMANDS
from hwm_env.data.state_tables import StateMapping
from hwm_env.errors import DatasetError
from hwm_env.training.runs.stopping import TrainingStopped
from hwm_env.training.world_model.recipe import TRAINING_PRESETS
from hwm_env.training.world_model.workflow import WorldModelRunConfig

TRAIN = ("train", "my data", "--tokenizer", "t", "--out", "there")


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Replaces the function of a command, which would work for minutes, by one that notes its calls."""

    def replace_function(name: str, error: Exception | None = None) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def note(*arguments: object) -> None:
            calls.append(arguments)
            if error is not None:
                raise error

        note.__doc__ = COMMANDS[name].run.__doc__
        monkeypatch.setattr(f"{COMMANDS[name].module}.{COMMANDS[name].function}", note)
        return calls

    return replace_function


def exit_code(*argv: str) -> object:
    """What the shell would see."""
    try:
        return cli.main(argv)
    except SystemExit as stop:
        return stop.code


def test_options_become_the_config(replaced) -> None:
    calls = replaced("collect")
    assert exit_code("collect", "there", "--episodes", "7", "--split", "val", "--workers", "1", "--videos") == 0
    ((config,),) = calls
    assert (config.out, config.episodes, config.split, config.workers) == (Path("there"), 7, "val", 1)
    assert (config.clips_per_episode, config.behaviour, config.videos) == (24, "teleoperator", True)


def test_the_caller_knows_the_command(replaced, capsys: pytest.CaptureFixture[str]) -> None:
    calls = replaced("certify")
    assert exit_code("certify", "my checkpoint", "--starts", "3") == 0
    ((config, caller),) = calls
    assert (config.checkpoint, config.starts) == ("my checkpoint", 3)
    assert caller.command == "hwm-env certify 'my checkpoint' --starts 3"
    caller.show("so it is")
    assert capsys.readouterr().out == "so it is\n"


def test_the_files_of_tokenize_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("hwm_env.tokenizing.tokenize_recordings", lambda *args, **kwargs: calls.append((args, kwargs)))
    (tmp_path / "mapping.json").write_text('{"hz": 50}')
    argv = ["tokenize", "data", "there", "--tokenizer", str(tiny_checkpoint), "--offsets", "0", "4", "8"]
    argv += ["--mapping", str(tmp_path / "mapping.json"), "--image-size", "64", "--workers", "3"]
    assert exit_code(*argv, "--camera", "head", "--episodes", "2", "5") == 0
    (((recordings, out, load, offsets), options),) = calls
    assert (options.pop("camera"), options.pop("episodes")) == ("head", (2, 5))
    assert (recordings, out, offsets) == (Path("data"), Path("there"), (0, 4, 8))
    assert load().fsq_levels
    assert options == {"mapping": StateMapping(hz=50), "image_size": 64, "workers": 3, "device": "auto"}


def test_a_training_takes_its_defaults_from_the_preset(replaced) -> None:
    calls = replaced("train")
    assert exit_code(*TRAIN) == 0
    assert exit_code(*TRAIN, "--preset", "quick", "--steps", "7", "--model.width", "40", "--validation", "v") == 0
    (plain, _), (changed, _) = calls
    common = {"data": Path("my data"), "tokenizer": "t", "out": Path("there")}
    assert plain == WorldModelRunConfig.of_preset("room-64", **common)
    quick = TRAINING_PRESETS["quick"]
    assert changed == WorldModelRunConfig(
        **common,
        preset="quick",
        validation=Path("v"),
        recipe=replace(quick.training, steps=7),
        model=replace(quick.model, width=40),
    )


def test_an_unknown_preset_is_bad_input(replaced, capsys: pytest.CaptureFixture[str]) -> None:
    calls = replaced("train")
    assert exit_code(*TRAIN, "--preset", "huge") == 2
    assert capsys.readouterr().err.startswith("hwm-env: preset must be one of quick, room-64")
    assert exit_code(*TRAIN, "--preset") == 2
    assert calls == []


def test_a_stopped_training_shows_how_to_resume_it(
    replaced, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replaced("train", TrainingStopped(15, 41))
    message, resumed = (
        "hwm-env: stopped by signal 15 after step 41; ",
        ": hwm-env train 'my data' --tokenizer t --out there",
    )
    for argv in (TRAIN, (*TRAIN, "--resume")):
        assert exit_code(*argv) == 128 + 15
        error = capsys.readouterr().err
        assert error.startswith(message)
        assert error.endswith(f"{resumed} --resume\n")
    monkeypatch.setenv("RANK", "0")
    assert exit_code(*TRAIN) == 128 + 15
    assert "hwm-env train" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [DatasetError("video_3.bin is short"), FileNotFoundError("video_3.bin is short")])
def test_bad_input_is_exit_code_2(replaced, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    replaced("collect", error)
    assert exit_code("collect", "there") == 2
    captured = capsys.readouterr()
    assert captured.err == "hwm-env: video_3.bin is short\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("collect", "there", "--episodes", "0"), "episodes must be at least 1, got 0"),
        (("calibrate", "room-64", "--episodes", "7"), "episodes must be at least 8, got 7"),
        (("train-tokenizer", "data", "--out", "there", "--steps", "0"), "steps must be at least 1, got 0"),
        (("evaluate", "a:b", "--starts", "0"), "starts must be at least 1, got 0"),
    ],
)
def test_a_value_that_is_not_allowed_is_one_line(
    argv: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*argv) == 2
    assert capsys.readouterr().err == f"hwm-env: {message}\n"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug")])
def test_bugs_are_not_hidden(replaced, error: Exception) -> None:
    replaced("collect", error)
    with pytest.raises(type(error), match="a bug"):
        cli.main(["collect", "there"])


@pytest.mark.parametrize(
    "argv",
    [[], ["unknown"], ["collect"], ["collect", "there", "--episodes", "many"], ["collect", "there", "--unknown", "1"]],
)
def test_bad_options_are_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*argv) == 2
    assert capsys.readouterr().err


def test_outputs_replace_neither_inputs_nor_each_other(
    replaced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    calls = replaced("evaluate")
    Path("thesis.txt").write_text("theirs")
    for options, message in (
        (("--json", "a.json", "--page", "./a.json"), "--json and page are the same file"),
        (("--json", "real", "--recording", "real"), "--json and recording are the same file"),
        (("--json", "true.json", "--true-results", "true.json"), "--json and true_results are the same file"),
        (("--page", "thesis.txt"), "--page: thesis.txt exists and is not a report"),
    ):
        assert exit_code("evaluate", "a:b", *options) == 2
        assert message in capsys.readouterr().err
    assert calls == []
    assert exit_code("evaluate", "a:b", "--json", "new.json", "--page", "new.html") == 0
    assert len(calls) == 1


def test_every_file_that_a_config_writes_is_checked() -> None:
    described = "file for"
    for name, command in COMMANDS.items():
        source = Path(sys.modules[command.load(command.config).__module__].__file__ or "").read_text()
        lines = source.splitlines()
        for field, documentation in itertools.pairwise(lines):
            if field.strip().endswith(": Path | None = None") and described in documentation:
                assert field.split(":")[0].strip() in checks.OUTPUTS, name


@pytest.mark.slow
def test_a_broken_pipe_is_one_line() -> None:
    script = "import sys; from hwm_env.cli import main; from hwm_env.training.world_model import preset_table\n"
    script += "preset_table.table = lambda presets: 'x' * 10**6\nsys.exit(main(['presets']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_launched_process_ends_with_its_launcher(replaced, monkeypatch: pytest.MonkeyPatch) -> None:
    parents: list[int] = []
    monkeypatch.setattr("hwm_env.cli.program.end_with_parent", parents.append)
    replaced("collect")
    assert exit_code("collect", "there") == 0
    assert parents == []
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert exit_code("collect", "there") == 0
    assert parents == [os.getppid()]
