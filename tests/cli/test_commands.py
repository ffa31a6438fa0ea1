"""The list of commands, and the help of each."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest
from tyro.conf import Suppress

from hwm_env.cli import main
from hwm_env.cli.commands import COMMANDS
from hwm_env.fields import CheckedFields


def shown_by(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a help shows, without frames and line breaks."""
    with pytest.raises(SystemExit) as stop:
        main([*argv, "--help"])
    assert stop.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def described_fields(config: type) -> Iterator[tuple[str, str]]:
    """Names of the options' fields and their docstrings, in nested configs too."""
    hints, bare = get_type_hints(config, include_extras=True), get_type_hints(config)
    source = "\n".join(inspect.getsource(base) for base in config.__mro__ if is_dataclass(base))
    for field in fields(config):
        if Suppress in getattr(hints[field.name], "__metadata__", ()):
            continue
        if is_dataclass(bare[field.name]):
            yield from described_fields(bare[field.name])
        else:
            _, _, after = source.partition(f"\n    {field.name}: ")
            documentation = after.partition('"""')[2].partition('"""')[0]
            yield field.name, " ".join(documentation.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_docstring_of_every_field(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = COMMANDS[name]
    config = command.load(command.config)
    shown = shown_by(capsys, name)
    assert f"hwm-env {name}" in shown
    assert shown.count("(default: ") + shown.count("(required)") >= len(list(described_fields(config)))
    for field, documentation in described_fields(config):
        assert documentation, field
        assert documentation in shown, field


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_checked_config_and_a_function_of_it(name: str) -> None:
    command = COMMANDS[name]
    config: Any = command.load(command.config)
    assert issubclass(config, CheckedFields)
    assert config.__dataclass_params__.frozen
    assert "__slots__" in vars(config)
    assert (inspect.getdoc(command.run) or "").splitlines()[0] == command.summary
    parameters = inspect.signature(command.run).parameters
    assert list(parameters) == (["config", "caller"] if command.has_caller else ["config"])
    assert parameters["config"].annotation is config


def test_help_names_the_commands_and_is_quick() -> None:
    script = (
        "import sys; from hwm_env.cli import main\ntry: main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for name, command in COMMANDS.items():
        assert name in shown
        assert command.summary.split()[0] in shown


def test_the_help_of_a_training_shows_the_values_of_its_preset(capsys: pytest.CaptureFixture[str]) -> None:
    steps = {"--preset=quick": 50, "--preset room-64": 2800, "--preset masked_hwm_full": 60_000, "": 2800}
    for preset, number in steps.items():
        assert f"Optimizer steps. (default: {number})" in shown_by(capsys, "train", *preset.split())
