"""The directory of a training run: a log, and the state to go on from."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hwm_env.errors import InvalidInputError


class Run:
    """A training run on disk: `log.jsonl`, a line a report, and `state.pt`, always whole.

    The state holds tensors and plain values only and is read back with `weights_only=True`.
    """

    def __init__(self, directory: Path, *, resume: bool) -> None:
        """Opens a run.

        Raises:
            InvalidInputError: there is a run already and `resume` is not set: it would be overwritten.
        """
        self.directory = directory
        self._state_path = directory / "state.pt"
        self._log_path = directory / "log.jsonl"
        if self._state_path.exists() and not resume:
            raise InvalidInputError(
                f"{directory} already holds a training run; continue it with resume, or choose another directory"
            )
        directory.mkdir(parents=True, exist_ok=True)

    def load_state(self) -> dict[str, Any] | None:
        """The newest saved state on the CPU, or None in a fresh run."""
        if not self._state_path.exists():
            return None
        state: dict[str, Any] = torch.load(self._state_path, map_location="cpu", weights_only=True)
        return state

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replaces the saved state; a kill at any moment leaves the old one or the new one."""
        temporary = self._state_path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._state_path)

    def log(self, **values: float | int) -> None:
        """Appends a line to the log."""
        with self._log_path.open("a") as file:
            file.write(json.dumps(values) + "\n")
