"""Two processes train the same weights as one, with the whole model (DDP) or half of it (FSDP) in each."""

import json
import multiprocessing
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hwm_env import checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.training.world_model.train import train_world_model
from tests.training import processes
from tests.training.processes import RECIPES
from tests.training.states import saved
from tests.training.worlds import MODEL, RECIPE, TOKENIZER, write_world

pytestmark = pytest.mark.slow

FORKS = multiprocessing.get_context("forkserver")
"""Starts processes from one that has imported everything once."""
FORKS.set_forkserver_preload(["tests.training.warm_processes"])
MEASURED = ("loss", "accuracy", "gradient_norm", "validation_masked_loss", "validation_next_clip_loss")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    write_world(directory)
    return directory


def train_alone(data: Path, run: Path, recipe: str) -> None:
    dataset = Dataset(data)
    train_world_model(dataset, dataset, TOKENIZER, run, MODEL, RECIPES[recipe], resume=True, device="cpu")


def train_in_two(data: Path, run: Path, kind: str, recipe: str, steps: int = RECIPE.steps) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    work = (2, port, data, run, kind, recipe, steps)
    ranks = [FORKS.Process(target=processes.train_as, args=(rank, *work)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [0, 0]


def launch_two(data: Path, run: Path, kind: str, recipe: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", processes.__name__]
    command = [sys.executable, *launcher, str(data), str(run), kind, recipe, str(RECIPE.steps)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def log(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Returns the results of the same recipes in one process."""
    root = tmp_path_factory.mktemp("alone")
    for recipe in ("adamw", "muon"):
        train_alone(data, root / recipe, recipe)
    return {recipe: root / recipe for recipe in ("adamw", "muon")} | {"again": root / "adamw"}


@pytest.mark.parametrize(
    ("train", "kind", "recipe"),
    [(launch_two, "ddp", "adamw"), (train_in_two, "fsdp", "again"), (train_in_two, "fsdp", "muon")],
    ids=["launched ddp adamw", "fsdp again", "fsdp muon"],
)
def test_two_processes_equal_one(
    data: Path, alone: dict[str, Path], tmp_path: Path, train: Callable[..., None], kind: str, recipe: str
) -> None:
    train(data, tmp_path / "run", kind, recipe)
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


def test_a_run_goes_on_with_another_number_of_processes(data: Path, alone: dict[str, Path], tmp_path: Path) -> None:
    """One process resumes a run of two processes with half of the model each.

    These stop after step 3: SIGTERM reaches one of them, and both stop after the next step.
    """
    train_in_two(data, tmp_path / "run", "fsdp", "adamw", steps=2)
    assert [line["step"] for line in log(tmp_path / "run")] == [1, 2, 3]
    train_alone(data, tmp_path / "run", "adamw")
    for ours_line, theirs_line in zip(log(tmp_path / "run"), log(alone["adamw"]), strict=True):
        for name in MEASURED:
            assert ours_line[name] == pytest.approx(theirs_line[name], rel=1e-5), f"{name}, {ours_line['step']}"
