"""Training a world model: stopping and going on changes nothing, and bad runs are refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hwm_env.training.world_model as world_model
from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.model.presets import TINY
from hwm_env.training.objective import MaskedLoss
from hwm_env.training.world_model import MIN_ACTION_STD, TrainingConfig, new_model, train_world_model

MODEL = replace(TINY, num_past_clips=2)
RECIPE = TrainingConfig(steps=6, batch_size=2, warmup_steps=2, report_every=2, validation_windows=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    directory = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    writer = DatasetWriter(directory, token_grid=MODEL.grid_size, tokenizer="test")
    states = rng.normal(size=(170, 25)).astype(np.float32)
    states[:, 4] = 1.0  # an ankle that never moves
    tokens = rng.integers(MODEL.codebook_size, size=(10, 3, *MODEL.grid_size), dtype=np.int32)
    writer.write_shard(0, states=states, segments=np.zeros(170, np.int32), tokens=tokens)
    writer.finish()
    return Dataset(directory)


def same_weights(first: MaskedHWM, second: MaskedHWM) -> bool:
    other = second.state_dict()
    return all(torch.equal(weight, other[name]) for name, weight in first.state_dict().items())


@pytest.mark.parametrize("stop_after", [2, 4])
def test_resuming_is_bit_equal_to_never_having_stopped(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    whole = train_world_model(data, data, tmp_path / "whole", MODEL, RECIPE)
    original, calls = world_model.parallel_targets_loss, 0

    def dies(*arguments: object) -> MaskedLoss:
        nonlocal calls
        calls += 1
        if calls > stop_after + 1:  # one step after the state was saved
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(world_model, "parallel_targets_loss", dies)
    with pytest.raises(KeyboardInterrupt):
        train_world_model(data, data, tmp_path / "parts", MODEL, RECIPE)
    monkeypatch.undo()
    resumed = train_world_model(data, data, tmp_path / "parts", MODEL, RECIPE, resume=True)
    assert same_weights(whole, resumed)


def test_the_log_has_the_shuffled_actions_beside_the_true_ones(data: Dataset, tmp_path: Path) -> None:
    train_world_model(data, data, tmp_path, MODEL, RECIPE)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all(line["validation_loss_shuffled_actions"] > 0 for line in lines)


def test_a_run_is_not_written_over(data: Dataset, tmp_path: Path) -> None:
    train_world_model(data, data, tmp_path, MODEL, RECIPE)
    state = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(InvalidInputError, match="already holds a training run"):
        train_world_model(data, data, tmp_path, MODEL, RECIPE)
    with pytest.raises(InvalidInputError, match="another configuration"):
        train_world_model(data, data, tmp_path, MODEL, replace(RECIPE, seed=1), resume=True)
    assert (tmp_path / "state.pt").read_bytes() == state


def test_a_loss_that_is_not_finite_stops_with_its_step(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = torch.tensor(torch.nan, requires_grad=True)
    monkeypatch.setattr(world_model, "parallel_targets_loss", lambda *_: MaskedLoss(nan, nan))
    with pytest.raises(FloatingPointError, match="nan at step 0"):
        train_world_model(data, data, tmp_path, MODEL, RECIPE)


def test_action_statistics_travel_with_the_weights(data: Dataset) -> None:
    statistics = ActionStatistics.from_dataset(data)
    weights = new_model(MODEL, statistics, seed=0).state_dict()
    torch.testing.assert_close(weights["actions.action_mean"], torch.from_numpy(statistics.mean))
    assert weights["actions.action_std"][4] == pytest.approx(MIN_ACTION_STD)  # not blown up by a division by zero
    assert weights["actions.action_std"][0] == pytest.approx(statistics.std[0])
