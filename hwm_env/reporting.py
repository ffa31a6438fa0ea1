"""What all workflows have in common: who called them, and the stamp and the files of their reports."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hwm_env.data.files import write_json

if TYPE_CHECKING:
    from hwm_env.simulator import WorldSimulator


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who runs a workflow: a Python program, unless a command line says otherwise."""

    command: str = ""
    """The command line, quoted for a shell, as reports keep it; empty if a Python program calls."""
    show: Callable[[str], None] = lambda text: None
    """Shows results and hints to a user as soon as they are known; Python programs use what the workflow returns."""


PYTHON: Final = Caller()
"""A Python program."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What a report is about, and how it was made."""

    checkpoint: str
    """Name or directory of the checkpoint."""
    weights: str
    """Identity of the world model's and the scene's weights."""
    tokenizer: str
    """Identity of the tokenizer."""
    decoding: Mapping[str, Any]
    """Fields of DecodingConfig."""
    precision: str
    """Number type of the model's matrix products."""
    episodes: int
    """Number of episodes."""
    command: str
    """The command line; empty if a Python program made the report."""

    @classmethod
    def of(cls, simulator: "WorldSimulator", *, name: str | Path, episodes: int, caller: Caller) -> "Stamp":
        """Returns the stamp of a report about a simulator.

        Args:
            simulator: what was measured.
            name: name or directory that its checkpoint was loaded from.
            episodes: number of episodes.
            caller: who asked for the report.
        """
        return cls(
            checkpoint=str(name),
            weights=simulator.identity,
            tokenizer=simulator.tokenizer.identity,
            decoding=asdict(simulator.decoding),
            precision=simulator.precision,
            episodes=episodes,
            command=caller.command,
        )


def publish(report: Mapping[str, Any], file: Path | None, caller: Caller) -> None:
    """Shows a report as JSON, then writes it to a file if one is given.

    Raises:
        SavingError: the file cannot be written.
    """
    caller.show(json.dumps(report, indent=2))
    if file is not None:
        write_json(file, report)


def play_hint(checkpoint: Path, tokenizer: str | None) -> str:
    """Returns the Python call that makes an environment of a checkpoint.

    Args:
        checkpoint: directory of the checkpoint.
        tokenizer: directory of its tokenizer, if it does not hold its own.
    """
    named = "" if tokenizer is None else f" tokenizer={tokenizer!r},"
    return f"gymnasium.make('HWM-v0', checkpoint={str(checkpoint)!r},{named} task=None)"
