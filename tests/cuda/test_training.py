"""Trainings on a GPU compute what they compute on the CPU, and resume."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hwm_env import checkpoint
from hwm_env.data.statistics import ActionStatistics
from hwm_env.draws import bits, normal, seeds_of, uniform
from hwm_env.training.world_model.objective import arrange, draw_targets
from hwm_env.training.world_model.train import train_world_model
from hwm_env.training.world_model.trainee import Trainee, TrainingStep, new_model
from tests.training.worlds import MODEL, RECIPE, TOKENIZER, write_world

pytestmark = pytest.mark.cuda

accelerate = pytest.importorskip("accelerate")


def forget_device() -> None:
    """Lets the next accelerator choose its device; Accelerate keeps that of the first one."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


@pytest.fixture(autouse=True)
def own_accelerator() -> Iterator[None]:
    forget_device()
    yield
    forget_device()


def test_draws_are_those_of_the_cpu(device: torch.device) -> None:
    def drawn(where: torch.device) -> list[Tensor]:
        seeds = seeds_of(3, 5, range(2, 9), where)
        return [seeds, bits(seeds, 1, (6,)), uniform(seeds, 2, (100,)), normal(seeds, 3, (100,))]

    here, there = drawn(torch.device("cpu")), drawn(device)
    for one, other in zip(here[:3], there[:3], strict=True):
        assert torch.equal(one, other.cpu())
    assert torch.allclose(here[3], there[3].cpu(), atol=1e-5)


def test_a_step_is_that_of_the_cpu(device: torch.device, tmp_path: Path) -> None:
    statistics = ActionStatistics.from_dataset(write_world(tmp_path))
    generator = torch.Generator().manual_seed(0)
    shape = (4, MODEL.num_past_clips + 1, 3, *MODEL.grid_size)
    tokens = torch.randint(MODEL.codebook_size, shape, generator=generator)
    actions = torch.randn(4, 17 * shape[1], 25, generator=generator)
    results = []
    for where in (torch.device("cpu"), device):
        forget_device()
        accelerator = accelerate.Accelerator(cpu=where.type == "cpu")
        assert accelerator.device.type == where.type
        trainee = Trainee.prepare(new_model(MODEL, statistics, 0), RECIPE, accelerator)
        past, frames = MODEL.num_past_clips, 17 * MODEL.num_past_clips
        batch = {
            "video_past": tokens[:, :past],
            "video_future": tokens[:, past:],
            "actions_past": actions[:, :frames],
            "actions_future": actions[:, frames:],
        }
        on_device = {name: part.to(where) for name, part in batch.items()}
        numbers = []
        for step in range(3):
            targets = draw_targets(
                arrange(trainee.model, on_device, parallel_targets=True),
                seeds_of(0, step, range(4), where),
                MODEL.codebook_size,
                0.2,
            )
            numbers.append(trainee.step(step, [targets], stop=False).numbers())
        results.append(numbers)
    for step, (here, there) in enumerate(zip(*results, strict=True)):
        print(f"\nstep {step}: loss {here['loss']:.6f} on the CPU, {there['loss']:.6f} on {device}", end="")
        assert there["loss"] == pytest.approx(here["loss"], rel=1e-3)
        assert there["gradient_norm"] == pytest.approx(here["gradient_norm"], rel=1e-2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_resumes(
    device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    data = write_world(tmp_path / "data")
    recipe = replace(RECIPE, steps=4, precision=precision, own_predictions=0.5)

    def train(directory: str, **options: Any) -> Path:
        return train_world_model(
            data, data, TOKENIZER, tmp_path / directory, MODEL, recipe, device=str(device), **options
        )

    class DeathError(Exception): ...

    step = Trainee.step

    def dies(self: Trainee, position: float, *arguments: Any, **options: Any) -> TrainingStep:
        if position == 3:
            raise DeathError
        return step(self, position, *arguments, **options)

    monkeypatch.setattr(Trainee, "step", dies)
    with pytest.raises(DeathError):
        train("run")
    monkeypatch.undo()
    newest = train("run", resume=True)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    model = checkpoint.load(newest, device=device).model
    assert all(parameter.isfinite().all() for parameter in model.parameters())
