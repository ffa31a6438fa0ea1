"""The directory of a training run: a log, and checkpoints from which the training can be resumed."""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import torch

from hwm_env.data.files import append_bytes, read_json, shown, write_bytes, write_json, writing
from hwm_env.errors import CheckpointError, InvalidInputError, SavingError
from hwm_env.fields import Count, checked

logger = logging.getLogger(__name__)

STATE_FILE = "state.pt"
SCORE_FILE = "score.json"
COPY_NOTE: Final = "copy_of.txt"
"""File with the name of the checkpoint, in a copy that replaces a link."""
LINKS: Final = ("checkpoint", "best")
"""Links to the newest checkpoint and to the one with the lowest score."""


class Stateful(Protocol):
    """An object whose state can be saved and restored: modules, optimizers, averages."""

    def state_dict(self) -> Any:
        """Returns tensors and plain values."""
        ...

    def load_state_dict(self, state: Any, /) -> object:
        """Restores what `state_dict` returned."""
        ...


class Run:
    """A training run on disk.

    | file | content |
    | --- | --- |
    | log.jsonl | one line for each report |
    | checkpoints/step-00001000/ | `state.pt`, from which the training resumes, and further files |
    | checkpoint | a link to the newest checkpoint |
    | best | a link to the one with the lowest score |

    If the file system has no links, `checkpoint` and `best` are copies without the states.

    A checkpoint gets its name when it is complete, and older ones are removed afterwards, so that a complete one is
    left if the process is killed at any time. The states contain only tensors and plain values and are loaded with
    `weights_only=True`.
    """

    def __init__(
        self, directory: Path, *, resume: bool, keep: int = 1, writes: bool = True, results: Sequence[str] = ()
    ) -> None:
        """Opens a run.

        Args:
            directory: directory of the run; created if needed.
            resume: continue the run in the directory, if there is one.
            keep: number of the newest checkpoints to keep; the best one is kept too, without its state.
            writes: whether this process writes; only one of several does.
            results: names of files that the caller will write to the directory.

        Raises:
            InvalidInputError: there is a run already and `resume` is not set; or there are other files that the run
                would overwrite; or `keep` is below 1.
            SavingError: the directory cannot be created.
        """
        checked("keep", keep, Count)
        self.directory = directory
        self._keep = keep
        self._writes = writes
        self._checkpoints = directory / "checkpoints"
        self._log_path = directory / "log.jsonl"
        if self._steps() and not resume:
            raise InvalidInputError(
                f"{shown(directory)} already holds a training run; continue it with resume, or choose another directory"
            )
        if writes:
            if not self._steps():
                self._check_free(resume, results)
            with writing(self._checkpoints):
                self._checkpoints.mkdir(parents=True, exist_ok=True)
                for remains in self._checkpoints.iterdir():
                    if re.fullmatch(r"\.step-\d+", remains.name):
                        shutil.rmtree(remains)

    @property
    def is_new(self) -> bool:
        """Whether there is no checkpoint yet."""
        return not self._steps()

    @property
    def newest(self) -> Path:
        """The directory of the newest checkpoint."""
        return self._path(self._steps()[-1])

    def restore(self, config: Mapping[str, object], **parts: Stateful) -> int:
        """Loads the newest saved state, if there is one, into the parts, and removes later lines of the log.

        Args:
            config: configuration of the run.
            parts: model, optimizer and all else with a state.

        Returns:
            The next step; 0 in a new run.

        Raises:
            InvalidInputError: the run was started with another configuration.
            CheckpointError: the saved state is damaged.
        """
        steps = [step for step in self._steps() if (self._path(step) / STATE_FILE).exists()]
        self._forget_log_after(steps[-1] if steps else 0)
        if not steps:
            return 0
        path = self._path(steps[-1]) / STATE_FILE
        state = _read_state(path)
        if state["config"] != config:
            raise InvalidInputError(
                f"the run in {self.directory} was started with another configuration: "
                f"{_differences(state['config'], config)}; give the first values to resume, or choose another directory"
            )
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        if self._writes:
            with writing(self.directory):
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
            config: configuration of the run.
            parts: the same as for `restore`.
            write: writes further files to the given directory.
            score: validation score, lower is better; `None` if not validated.

        Raises:
            SavingError: the checkpoint could not be written; older ones are unchanged.
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
            reason = error.__cause__ if isinstance(error, SavingError) else error
            raise SavingError(
                f"could not save step {step} to {self._checkpoints} ({reason}); {self._remedy()}"
            ) from error
        with writing(self.directory):
            self._prune()

    def log(self, **values: float | int) -> None:
        """Appends a line to the log.

        Raises:
            SavingError: the line could not be written.
        """
        if self._writes:
            append_bytes(self._log_path, (json.dumps(values) + "\n").encode())

    def _path(self, step: int) -> Path:
        return self._checkpoints / f"step-{step:08d}"

    def _steps(self) -> list[int]:
        """Returns the steps that have a checkpoint, ascending."""
        names = os.listdir(self._checkpoints) if os.path.isdir(self._checkpoints) else []
        return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"step-(\d{8,})", name)))

    def _check_free(self, resume: bool, results: Sequence[str]) -> None:
        """Checks that a new run overwrites nothing.

        Raises:
            InvalidInputError: the directory contains files that the run would overwrite.
        """
        # Files of a run that ended before its first checkpoint may be overwritten.
        names = results if resume and os.path.isdir(self._checkpoints) else (*LINKS, self._log_path.name, *results)
        taken = [name for name in names if os.path.lexists(self.directory / name)]
        if os.path.isdir(self._checkpoints) and any(not name.startswith(".") for name in os.listdir(self._checkpoints)):
            taken.append(self._checkpoints.name)
        if taken:
            raise InvalidInputError(
                f"{shown(self.directory)} contains {', '.join(taken)}, of something else or of a training run without "
                "a checkpoint; choose another directory, or move that away"
            )

    def _remedy(self) -> str:
        """Returns what to do after a checkpoint could not be written."""
        steps = self._steps()
        if not steps:
            return "there is no older checkpoint; make room and start again"
        return f"the checkpoint of step {steps[-1]} is whole: make room and resume"

    def _prune(self) -> None:
        steps = self._steps()
        scores = {step: self._score(step) for step in steps}
        judged = [step for step in steps if scores[step] is not None]
        best = min(judged, key=lambda step: scores[step] or 0.0, default=None)
        newest, lowest = (self.directory / name for name in LINKS)
        _link(newest, self._path(steps[-1]))
        if best is not None:
            _link(lowest, self._path(best))
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
            # The last line is incomplete if the process was killed while it wrote.
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            write_bytes(self._log_path, "".join(kept).encode())


def stored_config(directory: Path) -> Mapping[str, Any] | None:
    """Returns the configuration of the run in a directory as last saved; `None` if there is no saved state.

    Raises:
        CheckpointError: the saved state is damaged.
    """
    paths = sorted(directory.glob(f"checkpoints/step-*/{STATE_FILE}"))
    return _read_state(paths[-1])["config"] if paths else None


def _flush(directory: Path) -> None:
    """Waits until the files of a directory are on the disk."""
    for path in [*directory.rglob("*"), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    # Damaged files can raise anything.
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged ({type(error).__name__}); remove {path.parent} to resume from an older checkpoint, or "
            "start again in another directory"
        ) from error
    return state


def _link(link: Path, target: Path) -> None:
    """Creates or replaces a relative link atomically; a copy if the file system has no links."""
    temporary = link.with_name(f".{link.name}")
    _remove(temporary)
    try:
        temporary.symlink_to(target.relative_to(link.parent))
    except (OSError, NotImplementedError):
        note = link / COPY_NOTE
        if note.is_file() and note.read_text() == target.name:
            return
        shutil.copytree(target, temporary, ignore=shutil.ignore_patterns(STATE_FILE))
        (temporary / COPY_NOTE).write_text(target.name)
    # A directory that is not empty cannot be replaced by renaming.
    if (link / COPY_NOTE).is_file() and not link.is_symlink():
        _remove(link)
    temporary.replace(link)


def _remove(path: Path) -> None:
    """Removes a file, link or directory, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> str:
    """Lists the differences between two configurations as text."""
    lines = []
    for key in sorted(first.keys() | second.keys()):
        old, new = first.get(key), second.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines.append(_differences(old, new, f"{prefix}{key}."))
        elif old != new:
            lines.append(f"{prefix}{key} was {old!r}, now {new!r}")
    return ", ".join(line for line in lines if line)
