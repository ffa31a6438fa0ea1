"""The directory of a training run: a log, and the state to go on from."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from hwm_env.errors import InvalidInputError

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """What can be saved and put back: modules, optimizers, averages."""

    def state_dict(self) -> Any:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, state: Any, /) -> object:
        """Undoes `state_dict`."""
        ...


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

    def restore(self, config: Mapping[str, object], **parts: Stateful) -> int:
        """Puts the saved state back into the parts, if there is one.

        Args:
            config: what the run was started with.
            parts: model, optimizer and whatever else has a state.

        Returns:
            The step to go on with; 0 in a fresh run.

        Raises:
            InvalidInputError: the run was started with another configuration.
        """
        if not self._state_path.exists():
            return 0
        state: dict[str, Any] = torch.load(self._state_path, map_location="cpu", weights_only=True)
        if state["config"] != config:
            raise InvalidInputError(
                f"the run in {self.directory} was started with another configuration: {state['config']}; got {config}; "
                f"repeat the first one to resume, or choose another directory"
            )
        for name, part in parts.items():
            part.load_state_dict(state[name])
        logger.info("resuming %s at step %d", self.directory, state["step"])
        return int(state["step"])

    def save(self, step: int, config: Mapping[str, object], **parts: Stateful) -> None:
        """Replaces the saved state; a kill at any moment leaves the old one or the new one.

        Args:
            step: steps done.
            config: what the run was started with.
            parts: the same as for `restore`.
        """
        state = {"step": step, "config": config, **{name: part.state_dict() for name, part in parts.items()}}
        temporary = self._state_path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._state_path)

    def log(self, **values: float | int) -> None:
        """Appends a line to the log."""
        with self._log_path.open("a") as file:
            file.write(json.dumps(values) + "\n")
