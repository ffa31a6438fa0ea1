"""Configs on command lines: the commands of demos, policies and studies, and what all of them share."""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hwm_env.arguments import DataArgument, Flat, parse_config
from hwm_env.errors import InvalidInputError
from hwm_env.fields import CheckedFields, Count
from tests.cli.test_commands import described_fields

CONFIGS = {
    "demos.compare_worlds": "CompareConfig",
    "demos.quickstart": "QuickstartConfig",
    "demos.serve.__main__": "ServeConfig",
    "demos.teleop.__main__": "TeleopConfig",
    "docs.studies.ablation": "AblationConfig",
    "docs.studies.agreement": "Study",
    "docs.studies.dial": "Study",
    "docs.studies.mpc": "Study",
    "docs.studies.parts": "Study",
    "docs.studies.pictures": "PicturesConfig",
    "docs.studies.rl": "Study",
    "docs.studies.room": "RoomConfig",
    "policies.clone": "Cloning",
    "policies.train": "TrainingRun",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner(CheckedFields):
    """Has a field of its own."""

    steps: Count = 3
    """Steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer(CheckedFields):
    """Has a config in it."""

    data: DataArgument
    """Data."""
    inner: Flat[Inner] = field(default_factory=Inner)
    """The other."""


def parsed(*argv: str, **defaults: object) -> Outer:
    return parse_config(Outer, argv, program="test", **defaults)


def test_a_config_in_a_config_has_options_without_a_prefix() -> None:
    assert parsed("there") == Outer(data=Path("there"))
    assert parsed("there", "--steps", "5") == Outer(data=Path("there"), inner=Inner(steps=5))


def test_defaults_can_be_replaced() -> None:
    assert parsed("there", inner=Inner(steps=7)).inner.steps == 7
    assert parsed("there", "--steps", "5", inner=Inner(steps=7)).inner.steps == 5


def test_a_value_that_is_not_allowed_is_our_error() -> None:
    with pytest.raises(InvalidInputError, match=r"^steps must be at least 1, got 0$"):
        parsed("there", "--steps", "0")
    with pytest.raises(InvalidInputError, match=r"^inner must be a Inner, got 'text'$"):
        Outer(data=Path("there"), inner="text")  # type: ignore[arg-type]


@pytest.mark.parametrize("module", CONFIGS)
def test_help_shows_the_docstring_of_every_field(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("stable_baselines3")
    config: Any = getattr(import_module(module), CONFIGS[module])
    with pytest.raises(SystemExit) as stop:
        parse_config(config, ["--help"], program=f"python -m {module}")
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"usage: python -m {module} [-h]" in shown
    for name, documentation in described_fields(config):
        assert documentation, name
        assert documentation in shown, name


def test_what_demos_take() -> None:
    from demos.driving.arguments import chosen_session
    from demos.driving.session import SessionConfig
    from demos.serve.__main__ import ServeConfig

    argv = ["--name", "a", "--name", "b", "--task", "none", "--start", "5", "--port", "0"]
    config = parse_config(ServeConfig, argv, program="serve")
    assert (config.name, config.port, config.session.task) == (("a", "b"), 0, "none")
    assert chosen_session(config.session) == SessionConfig(task=None, start=5)
    assert chosen_session(SessionConfig()) == SessionConfig()
