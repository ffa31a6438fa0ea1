"""Evaluations by Ray workers equal those of one process, also when one of them is killed."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hwm_env import checkpoint as checkpoints
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.policies import ray_workers as module
from hwm_env.evaluation.policies.evaluation import EvaluationConfig, evaluate
from hwm_env.evaluation.policies.player import Unit
from hwm_env.evaluation.policies.ray_workers import LOCAL, Worker, ray_workers
from hwm_env.evaluation.policies.trials import Case, Trial

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")

CONFIG = EvaluationConfig(
    policies=["tests.evaluation.policies.scripted:turners"],
    tasks=["face-target", "look-at"],
    starts=3,
    worlds=["learned"],
    max_steps=3,
)


class Mortal(Worker):
    """Kills its process when it plays a certain unit for the first time."""

    def play(self, unit: Unit, cases: list[Case]) -> list[Trial]:
        memory = Path(os.environ["MORTAL_MEMORY"])
        if unit.policy == "turns 0 rad/s" and unit.task == "look-at" and not memory.exists():
            memory.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().play(unit, cases)


@pytest.fixture(autouse=True)
def _no_ray_left() -> Iterator[None]:
    yield
    assert not ray.is_initialized()


def test_a_killed_worker_loses_nothing(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORTAL_MEMORY", str(tmp_path / "died"))
    monkeypatch.setattr(module, "Worker", Mortal)
    loaded = checkpoints.load(tiny_checkpoint)
    alone = evaluate(loaded, CONFIG, tmp_path / "alone", command="")
    workers = ray_workers(LOCAL, str(tiny_checkpoint), None, CONFIG, 2)
    together = evaluate(loaded, CONFIG, tmp_path / "together", command="", play_units=workers)
    assert (tmp_path / "died").exists()
    assert together == alone
    units = [json.loads(line)["unit"] for line in (tmp_path / "together" / "trials.jsonl").read_text().splitlines()[1:]]
    assert len(units) == 6


def test_a_bad_policy_is_distinguished_from_a_lost_worker(tiny_checkpoint: Path, tmp_path: Path) -> None:
    bad = EvaluationConfig(
        policies=["tests.evaluation.policies.scripted:nan"],
        tasks=["face-target"],
        starts=3,
        worlds=["learned"],
        max_steps=3,
    )
    workers = ray_workers(LOCAL, str(tiny_checkpoint), None, bad, 1)
    with pytest.raises(InvalidInputError, match="policy 'broken', start 0, step 2"):
        evaluate(checkpoints.load(tiny_checkpoint), bad, tmp_path, command="", play_units=workers)


@pytest.mark.parametrize(
    ("address", "count", "message"),
    [("127.0.0.1:1", 1, "no Ray cluster answers"), ("cluster", 1, "expected host:port"), (LOCAL, 0, "at least 1")],
)
def test_what_cannot_work_is_refused(tiny_checkpoint: Path, address: str, count: int, message: str) -> None:
    arguments: Any = (address, str(tiny_checkpoint), None, CONFIG, count)
    with pytest.raises(InvalidInputError, match=message):
        ray_workers(*arguments)
