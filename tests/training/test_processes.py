"""Two processes train the same weights as one, with the whole model (DDP) or half of it (FSDP) in each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hwm_env import checkpoint
from tests.training.states import saved
from tests.training.worlds import RECIPE, write_world

WORKER = "tests.training.processes"
MEASURED = ("loss", "accuracy", "gradient_norm", "validation_masked_loss", "validation_next_clip_loss")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    write_world(directory)
    return directory


def run(data: Path, directory: Path, kind: str, recipe: str, *, processes: int, steps: int = RECIPE.steps) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", WORKER]
    done = subprocess.run(
        [*command, str(data), str(directory), kind, recipe, str(steps)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr


def log(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns the results of the same recipes in one process."""
    root = tmp_path_factory.mktemp("alone")
    for recipe in ("adamw", "muon"):
        run(data, root / recipe, "ddp", recipe, processes=1)
    return {recipe: root / recipe for recipe in ("adamw", "muon")} | {"again": root / "adamw"}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "recipe"), [("ddp", "adamw"), ("fsdp", "again"), ("fsdp", "muon")])
def test_two_processes_equal_one(data: Path, alone: dict[str, Path], tmp_path: Path, kind: str, recipe: str) -> None:
    run(data, tmp_path / "run", kind, recipe, processes=2)
    ours, theirs = log(tmp_path / "run"), log(alone[recipe])
    assert [line["step"] for line in ours] == list(range(1, RECIPE.steps + 1))
    tolerance = 3e-3 if recipe == "muon" else 1e-5
    for ours_line, theirs_line in zip(ours, theirs, strict=True):
        for name in MEASURED:
            assert ours_line[name] == pytest.approx(theirs_line[name], rel=tolerance), f"{name}, {ours_line['step']}"
    if recipe != "muon":
        weights = [saved(path / "checkpoint")["state"]["model"] for path in (tmp_path / "run", alone[recipe])]
        torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)
    checkpoint.load(tmp_path / "run/checkpoint")


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(data: Path, alone: dict[str, Path], tmp_path: Path) -> None:
    """One process resumes a run of two processes with half of the model each.

    These stop after step 3: SIGTERM reaches one of them, and both stop after the next step.
    """
    run(data, tmp_path / "run", "fsdp", "adamw", processes=2, steps=2)
    assert [line["step"] for line in log(tmp_path / "run")] == [1, 2, 3]
    run(data, tmp_path / "run", "ddp", "adamw", processes=1)
    for ours_line, theirs_line in zip(log(tmp_path / "run"), log(alone["adamw"]), strict=True):
        for name in MEASURED:
            assert ours_line[name] == pytest.approx(theirs_line[name], rel=1e-5), f"{name}, {ours_line['step']}"
