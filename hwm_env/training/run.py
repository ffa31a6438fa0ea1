"""The directory of a training run: a log, and checkpoints to go on from."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from hwm_env.data.files import read_json, write_bytes, write_json
from hwm_env.errors import InvalidInputError, SavingError
from hwm_env.fields import Count, checked

logger = logging.getLogger(__name__)

STATE_FILE = "state.pt"
SCORE_FILE = "score.json"


class Stateful(Protocol):
    """What can be saved and put back: modules, optimizers, averages."""

    def state_dict(self) -> Any:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, state: Any, /) -> object:
        """Undoes `state_dict`."""
        ...


class Run:
    """A training run on disk.

    | file | content |
    | --- | --- |
    | log.jsonl | a line a report |
    | checkpoints/step-00001000/ | `state.pt`, from which the training goes on, and what else was saved then |
    | checkpoint | a link to the newest of them |
    | best | a link to the one with the lowest score |

    A checkpoint appears under its name when it is whole, and older ones go after that: a kill at any moment leaves the
    newest whole one. The states hold tensors and plain values only and are read back with `weights_only=True`.
    """

    def __init__(self, directory: Path, *, resume: bool, keep: int = 1, writes: bool = True) -> None:
        """Opens a run.

        Args:
            directory: of the run; created when needed.
            resume: go on with the run that is there, if there is one.
            keep: how many of the newest checkpoints to keep; the best is kept too, but without its state.
            writes: whether this process writes; of several, one does.

        Raises:
            InvalidInputError: there is a run already and `resume` is not set; or `keep` is below 1.
        """
        checked("keep", keep, Count)
        self.directory = directory
        self._keep = keep
        self._writes = writes
        self._checkpoints = directory / "checkpoints"
        self._log_path = directory / "log.jsonl"
        if self._steps() and not resume:
            raise InvalidInputError(
                f"{directory} already holds a training run; continue it with resume, or choose another directory"
            )
        if writes:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            for remains in self._checkpoints.glob(".*"):
                shutil.rmtree(remains)

    @property
    def newest(self) -> Path:
        """The directory of the newest checkpoint."""
        return self._path(self._steps()[-1])

    def restore(self, config: Mapping[str, object], **parts: Stateful) -> int:
        """Puts the newest saved state back into the parts, if there is one, and drops what was logged after it.

        Args:
            config: what the run was started with.
            parts: model, optimizer and whatever else has a state.

        Returns:
            The step to go on with; 0 in a fresh run.

        Raises:
            InvalidInputError: the run was started with another configuration.
        """
        steps = [step for step in self._steps() if (self._path(step) / STATE_FILE).exists()]
        self._forget_log_after(steps[-1] if steps else 0)
        if not steps:
            return 0
        path = self._path(steps[-1]) / STATE_FILE
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["config"] != config:
            raise InvalidInputError(
                f"the run in {self.directory} was started with another configuration: "
                f"{_differences(state['config'], config)}; give the first values to resume, or choose another directory"
            )
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        if self._writes:
            self._prune()
        logger.info("resuming %s at step %d", self.directory, steps[-1])
        return steps[-1]

    def save(
        self,
        step: int,
        config: Mapping[str, object],
        parts: Mapping[str, Stateful],
        *,
        write: Callable[[Path], None] | None = None,
        score: float | None = None,
    ) -> None:
        """Adds a checkpoint, then removes those that need not be kept.

        Args:
            step: steps done.
            config: what the run was started with.
            parts: the same as for `restore`.
            write: writes further files into the directory that it is given.
            score: the lower, the better; None: not judged.

        Raises:
            SavingError: the checkpoint could not be written (a full disk?); older ones are unharmed.
        """
        state = {"config": dict(config), "parts": {name: part.state_dict() for name, part in parts.items()}}
        if not self._writes or self._path(step).exists():
            return
        temporary = self._checkpoints / f".step-{step}"
        try:
            temporary.mkdir()
            if write is not None:
                write(temporary)
            with (temporary / STATE_FILE).open("wb") as file:
                torch.save(state, file)
            if score is not None:
                write_json(temporary / SCORE_FILE, {"score": score})
            _flush(temporary)
            temporary.rename(self._path(step))
        # torch reports a file that it cannot write as a RuntimeError.
        except (OSError, RuntimeError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise SavingError(
                f"could not save step {step} to {self._checkpoints} ({error}); {self._what_is_left()}"
            ) from error
        self._prune()

    def log(self, **values: float | int) -> None:
        """Appends a line to the log."""
        if self._writes:
            with self._log_path.open("a") as file:
                file.write(json.dumps(values) + "\n")

    def _path(self, step: int) -> Path:
        return self._checkpoints / f"step-{step:08d}"

    def _steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sorted(int(path.name.removeprefix("step-")) for path in self._checkpoints.glob("step-*"))

    def _what_is_left(self) -> str:
        steps = self._steps()
        if not steps:
            return "there is no older checkpoint; make room and start again"
        return f"the checkpoint of step {steps[-1]} is whole: make room and resume"

    def _prune(self) -> None:
        steps = self._steps()
        scores = {step: self._score(step) for step in steps}
        judged = [step for step in steps if scores[step] is not None]
        best = min(judged, key=lambda step: scores[step] or 0.0, default=None)
        _link(self.directory / "checkpoint", self._path(steps[-1]))
        if best is not None:
            _link(self.directory / "best", self._path(best))
        for step in steps[: -self._keep]:
            if step == best:
                (self._path(step) / STATE_FILE).unlink(missing_ok=True)
            else:
                doomed = self._path(step).rename(self._checkpoints / f".step-{step}")
                shutil.rmtree(doomed)

    def _score(self, step: int) -> float | None:
        path = self._path(step) / SCORE_FILE
        if not path.exists():
            return None
        score = read_json(path)["score"]
        assert isinstance(score, float), f"{path}: {score!r}"
        return score

    def _forget_log_after(self, step: int) -> None:
        if self._writes and self._log_path.exists():
            lines = self._log_path.read_text().splitlines(keepends=True)
            # A kill can leave half a line.
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            write_bytes(self._log_path, "".join(kept).encode())


def _flush(directory: Path) -> None:
    """Waits until the files of a directory are on the disk."""
    for path in [*directory.rglob("*"), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _link(link: Path, target: Path) -> None:
    """Makes a relative link, or turns the one that is there round, at once."""
    temporary = link.with_name(f".{link.name}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.relative_to(link.parent))
    temporary.replace(link)


def _differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> str:
    """What two configurations disagree about, as text."""
    lines = []
    for key in sorted(first.keys() | second.keys()):
        old, new = first.get(key), second.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines.append(_differences(old, new, f"{prefix}{key}."))
        elif old != new:
            lines.append(f"{prefix}{key} was {old!r}, now {new!r}")
    return ", ".join(line for line in lines if line)
