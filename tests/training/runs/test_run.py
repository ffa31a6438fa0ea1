"""A run's directory: an interruption at any time leaves a complete checkpoint."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from hwm_env.errors import CheckpointError, InvalidInputError, SavingError
from hwm_env.training.runs import run as run_module
from hwm_env.training.runs.run import Run
from tests.disks import content_of

CONFIG = {"training": {"steps": 5, "betas": (0.9, 0.98)}}


@dataclass
class Part:
    """An object whose state is one number."""

    value: float

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"value": torch.tensor(self.value)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.value = float(state["value"])


def save(run: Run, step: int, score: float | None = None, write: Callable[[Path], None] | None = None) -> None:
    run.save(step, CONFIG, {"part": Part(10.0 * step)}, score=score, write=write)


def restored(directory: Path) -> tuple[int, float]:
    part = Part(-1.0)
    return Run(directory, resume=True).restore(CONFIG, part=part), part.value


def steps_in(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "checkpoints").iterdir())


def test_goes_on_from_the_newest(tmp_path: Path) -> None:
    assert restored(tmp_path) == (0, -1.0)
    run = Run(tmp_path, resume=False, keep=2)
    for step in (1, 2, 3):
        save(run, step, write=lambda directory: (directory / "more").mkdir())
    assert restored(tmp_path) == (3, 30.0)
    assert run.newest == tmp_path / "checkpoints/step-00000003"
    assert (tmp_path / "checkpoint/more").is_dir()


def test_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    run = Run(tmp_path, resume=False, keep=2)
    for step, score in enumerate([3.0, 1.0, 2.0, None, 2.5], start=1):
        save(run, step, score)
    assert steps_in(tmp_path) == ["step-00000002", "step-00000004", "step-00000005"]
    assert (tmp_path / "best").resolve().name == "step-00000002"
    assert not (tmp_path / "best/state.pt").exists()
    # The best checkpoint of a resumed run is still the best.
    save(Run(tmp_path, resume=True, keep=1), 6, 1.5)
    assert steps_in(tmp_path) == ["step-00000002", "step-00000006"]
    save(Run(tmp_path, resume=True, keep=1), 7, 0.5)
    assert steps_in(tmp_path) == ["step-00000007"]
    assert (tmp_path / "best").resolve() == (tmp_path / "checkpoint").resolve()


def test_a_run_is_not_written_over_nor_resumed_with_another_recipe(tmp_path: Path) -> None:
    save(Run(tmp_path, resume=False), 1)
    with pytest.raises(InvalidInputError, match="already holds a training run"):
        Run(tmp_path, resume=False)
    other = {"training": {"steps": 9, "betas": (0.9, 0.98)}}
    with pytest.raises(InvalidInputError, match=r"another configuration: training\.steps was 5, now 9;"):
        Run(tmp_path, resume=True).restore(other, part=Part(0.0))
    with pytest.raises(InvalidInputError, match="keep must be at least 1"):
        Run(tmp_path, resume=True, keep=0)


class KilledError(BaseException):
    """Simulates a kill: no code catches it."""


FILE_OPERATIONS = ["mkdir", "open", "rename", "replace", "symlink_to", "unlink", "fsync", "rmtree"]


@pytest.mark.slow
def test_a_kill_at_any_file_operation_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run dies before the n-th operation of saving step 3, for all n; resumed, it ends like an uninterrupted one."""
    tick = {"left": -1}

    def deadly(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if tick["left"] == 0:
                raise KilledError
            tick["left"] -= 1
            return function(*args, **kwargs)

        return call

    survived = 0
    for deadline in range(60):
        directory = tmp_path / str(deadline)
        run = Run(directory, resume=False, keep=1)
        save(run, 1, 2.0)
        save(run, 2, 3.0)
        with monkeypatch.context() as patch:
            for name in FILE_OPERATIONS:
                owner = {"fsync": os, "rmtree": run_module.shutil}.get(name, Path)
                patch.setattr(owner, name, deadly(getattr(owner, name)))
            tick["left"] = deadline
            try:
                save(run, 3, 1.0)
                survived += 1
            except KilledError:
                pass
        step, value = restored(directory)
        assert step in (2, 3)
        assert value == 10.0 * step
        save(Run(directory, resume=True, keep=1), 3, 1.0)
        save(Run(directory, resume=True, keep=1), 4, 4.0)
        assert steps_in(directory) == ["step-00000003", "step-00000004"]
        assert (directory / "best").resolve().name == "step-00000003"
        assert (directory / "checkpoint").resolve().name == "step-00000004"
    assert 0 < survived < 50, f"{survived} of 60 came to the end: are the operations counted?"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write failed")])
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    run = Run(tmp_path, resume=False)
    save(run, 1)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(run_module.torch, "save", fails)
    with pytest.raises(SavingError, match=r"could not save step 2 .* the checkpoint of step 1 is whole: make room"):
        save(run, 2)
    monkeypatch.undo()
    assert steps_in(tmp_path) == ["step-00000001"]
    assert restored(tmp_path) == (1, 10.0)


@pytest.mark.slow
def test_what_really_does_not_fit_is_reported_too(tmp_path: Path) -> None:
    """A limit on the size of files makes the system refuse to write, as a full disk does."""
    code = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from hwm_env.errors import SavingError\n"
        "from hwm_env.training.runs.run import Run\n"
        "class Part:\n"
        "    def state_dict(self): return {'big': torch.zeros(1_000_000)}\n"
        "run = Run(Path(sys.argv[1]), resume=True)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: run.save(2, {}, {'part': Part()})\n"
        "except SavingError as error: print(error)\n"
    )
    save(Run(tmp_path, resume=False), 1)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "could not save step 2" in done.stdout
    assert restored(tmp_path) == (1, 10.0)


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT, SMB and mounted buckets have no links."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(os, "link", refuse)


def write_weights(step: int) -> Callable[[Path], None]:
    return lambda directory: (directory / "weights").write_text(str(step)) and None


@pytest.mark.usefixtures("no_links")
def test_copies_stand_for_links_where_there_are_none(tmp_path: Path) -> None:
    run = Run(tmp_path, resume=False, keep=1)
    for step, score in ((1, 3.0), (2, 1.0), (3, 2.0)):
        save(run, step, score, write_weights(step))
    assert (tmp_path / "checkpoint/weights").read_text() == "3"
    assert (tmp_path / "best/weights").read_text() == "2"
    assert not (tmp_path / "checkpoint/state.pt").exists()
    assert restored(tmp_path) == (3, 30.0)
    save(Run(tmp_path, resume=True), 4, 0.5, write_weights(4))
    assert (tmp_path / "checkpoint/weights").read_text() == (tmp_path / "best/weights").read_text() == "4"
    assert steps_in(tmp_path) == ["step-00000004"]
    assert not list(tmp_path.glob(".*"))


def test_a_copy_becomes_a_link_where_there_are_links_again(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "symlink_to", lambda *_: (_ for _ in ()).throw(NotImplementedError()))
        save(Run(tmp_path, resume=False), 1, 1.0, write_weights(1))
    assert not (tmp_path / "checkpoint").is_symlink()
    save(Run(tmp_path, resume=True), 2, 0.5, write_weights(2))
    assert (tmp_path / "checkpoint").is_symlink()
    assert (tmp_path / "best/weights").read_text() == "2"


@pytest.mark.parametrize("name", ["checkpoint", "best", "log.jsonl", "tokenizer.safetensors", "checkpoints/theirs"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_is_somebody_elses_is_not_replaced(tmp_path: Path, name: str, resume: bool) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"theirs")
    before = content_of(tmp_path)
    with pytest.raises(InvalidInputError, match="choose another directory, or move that away"):
        Run(tmp_path, resume=resume, results=("tokenizer.safetensors",))
    assert content_of(tmp_path) == before


def test_strange_names_among_the_checkpoints_are_left_alone(tmp_path: Path) -> None:
    save(Run(tmp_path, resume=False), 1)
    strange = ["step-00000002 (copy)", ".DS_Store", "._step-00000001", "step-x"]
    for name in strange:
        (tmp_path / "checkpoints" / name).touch()
    (tmp_path / "checkpoints/.step-5").mkdir()
    save(Run(tmp_path, resume=True), 2)
    assert restored(tmp_path) == (2, 20.0)
    assert steps_in(tmp_path) == sorted(["step-00000002", *strange])


@pytest.mark.parametrize("content", [b"", b"\x80\x02nonsense", bytes(1000)])
def test_a_damaged_state_is_named(tmp_path: Path, content: bytes) -> None:
    save(Run(tmp_path, resume=False), 1)
    (tmp_path / "checkpoint/state.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.pt is damaged .*; remove .*step-00000001 to resume"):
        restored(tmp_path)


def test_where_no_run_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file/below", tmp_path / ("x" * 5000), tmp_path / "a\0b"):
        with pytest.raises((SavingError, InvalidInputError)) as caught:
            Run(place, resume=False)
        assert len(str(caught.value)) < 600


def test_the_log_forgets_what_was_after_the_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path, resume=False)
    run.log(step=1, loss=0.5)
    save(run, 1)
    run.log(step=2, loss=0.25)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    restored(tmp_path)
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"step": 1, "loss": 0.5}
    ]


def test_only_one_process_writes(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", resume=False, writes=False)
    save(run, 1)
    run.log(step=1)
    assert not (tmp_path / "run").exists()
