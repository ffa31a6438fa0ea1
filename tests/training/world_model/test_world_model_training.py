"""Training a world model: stopping and resuming change nothing, and invalid runs raise errors."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hwm_env import checkpoint
from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.errors import CheckpointError, DatasetError, DivergedError, InvalidInputError, SavingError
from hwm_env.training.runs import run as run_module
from hwm_env.training.runs.run import STATE_FILE
from hwm_env.training.runs.stopping import TrainingStopped
from hwm_env.training.world_model.recipe import TrainingConfig
from hwm_env.training.world_model.train import train_world_model
from hwm_env.training.world_model.trainee import MIN_ACTION_STD, Trainee, TrainingStep, new_model
from tests.training.states import assert_same_bits, saved
from tests.training.worlds import MODEL, RECIPE, TOKENIZER, write_world

AUTO = replace(RECIPE, precision="auto")
Wrapper = Callable[[Callable[..., TrainingStep], int], TrainingStep]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_world(tmp_path_factory.mktemp("data"))


def train(data: Dataset, directory: Path, recipe: TrainingConfig = RECIPE, **options: Any) -> Path:
    return train_world_model(data, data, TOKENIZER, directory, MODEL, recipe, device="cpu", **options)


@pytest.fixture(scope="module")
def whole(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest checkpoint of a run with RECIPE that nothing interrupted. Shared: do not change it."""
    return train(data, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def around_each_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Wrapper], None]:
    """Lets a test run a function instead of a step, or before it."""

    def install(wrapper: Wrapper) -> None:
        original = Trainee.step
        monkeypatch.setattr(
            Trainee,
            "step",
            lambda self, step, batches, *, stop: wrapper(lambda: original(self, step, batches, stop=stop), step),
        )

    return install


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", [3, 5])
def test_resuming_is_bit_equal_to_never_having_stopped(
    data: Dataset, whole: Path, tmp_path: Path, around_each_step, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    class DeathError(Exception): ...

    def die(take_step: Callable[[], TrainingStep], step: int) -> TrainingStep:
        if step == dies_at:
            raise DeathError
        return take_step()

    around_each_step(die)
    with pytest.raises(DeathError):
        train(data, tmp_path / "parts")
    monkeypatch.undo()
    resumed = train(data, tmp_path / "parts", resume=True, workers=2)
    assert_same_bits(whole, resumed)
    assert [line["step"] for line in logged(tmp_path / "parts")] == [2, 4, 6]


@pytest.mark.slow
def test_auto_without_bfloat16_in_hardware_is_float32_to_the_bit(
    data: Dataset, whole: Path, tmp_path: Path, fast_bfloat16: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_bfloat16(False)

    def refuse(self: torch.Tensor) -> torch.Tensor:
        raise AssertionError("something turns into bfloat16")

    monkeypatch.setattr(torch.Tensor, "bfloat16", refuse)
    found = train(data, tmp_path / "found", AUTO)
    assert_same_bits(whole, found)
    assert checkpoint.load(found).provenance["training"]["precision"] == "float32"


@pytest.mark.slow
def test_a_run_does_not_go_on_in_another_number_type(
    data: Dataset, tmp_path: Path, fast_bfloat16: Callable[[bool], None]
) -> None:
    fast_bfloat16(True)
    begun = train(data, tmp_path, AUTO)
    assert checkpoint.load(begun).provenance["training"]["precision"] == "bfloat16"
    fast_bfloat16(False)
    message = r"training\.precision was 'bfloat16', now 'float32'; give the first values to resume"
    with pytest.raises(InvalidInputError, match=message):
        train(data, tmp_path, AUTO, resume=True)
    assert train(data, tmp_path, replace(AUTO, precision="bfloat16"), resume=True) == begun
    fast_bfloat16(True)
    assert train(data, tmp_path, AUTO, resume=True) == begun


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(
    data: Dataset,
    whole: Path,
    tmp_path: Path,
    around_each_step,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)

    def ask(take_step: Callable[[], TrainingStep], step: int) -> TrainingStep:
        if step == 1:
            os.kill(os.getpid(), number)
        return take_step()

    around_each_step(ask)
    recipe = replace(RECIPE, report_every=100)
    with pytest.raises(TrainingStopped, match=f"signal {number.value} after step 3") as stopped:
        train(data, tmp_path / "parts", recipe)
    assert stopped.value.signal == number
    assert signal.getsignal(number) == before
    monkeypatch.undo()
    checkpoint.load(tmp_path / "parts/checkpoint")
    assert_same_bits(whole, train(data, tmp_path / "parts", recipe, resume=True))


def logged(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_gradients_may_be_summed_up_in_any_division(data: Dataset, tmp_path: Path) -> None:
    # Muon amplifies small differences.
    recipe = replace(RECIPE, matrix_learning_rate=None, report_every=1)
    for size in (1, 4):
        train(data, tmp_path / str(size), replace(recipe, micro_batch_size=size))
    for first, second in zip(logged(tmp_path / "1"), logged(tmp_path / "4"), strict=True):
        for name in ("loss", "accuracy", "gradient_norm", "validation_masked_loss", "validation_next_clip_loss"):
            assert first[name] == pytest.approx(second[name], rel=1e-4), f"{name} after step {first['step']}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint_activations": True},
        {"precision": "bfloat16"},
        {"matrix_learning_rate": None},
        {"parallel_targets": False, "future_clips": 2},
    ],
    ids=str,
)
def test_every_recipe_trains(data: Dataset, whole: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    other = train(data, tmp_path, replace(RECIPE, **changes))
    first, second = saved(whole)["shipped"], saved(other)["shipped"]
    same = all(torch.equal(first[name], second[name]) for name in first)
    assert same == (changes == {"checkpoint_activations": True})


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"temporal_mask": "bidirectional", "temporal_positions": "concat", "position_embedding": "window"},
        {"latent_layout": "sequential", "past_latents": 2, "num_past_clips": 1, "num_future_clips": 1},
        {
            "codebook_head": "joint",
            "token_embedding": "table",
            "temporal_scope": "pooled",
            "action_injection": "attention",
        },
    ],
    ids=["as foreign checkpoints", "within a clip", "as first described"],
)
def test_every_kind_of_model_trains(data: Dataset, tmp_path: Path, changes: dict[str, Any]) -> None:
    model = replace(MODEL, **changes)
    recipe = replace(RECIPE, parallel_targets="codebook_head" in changes)
    newest = train_world_model(data, data, TOKENIZER, tmp_path, model, recipe, device="cpu")
    assert checkpoint.load(newest).model.config == model
    assert ("validation_psnr_true_actions" in logged(tmp_path)[-1]) == (model.past_latents is None)


@pytest.mark.slow
def test_the_log_has_the_shuffled_actions_beside_the_true_ones(whole: Path) -> None:
    lines = logged(whole.parents[1])
    assert [line["step"] for line in lines] == [2, 4, 6]
    for line in lines:
        assert line["validation_next_clip_loss_shuffled_actions"] != line["validation_next_clip_loss"]
        assert line["perplexity/latent_1"] > 1
    rates = [line["learning_rate"] for line in lines]
    assert rates == [RECIPE.learning_rate * RECIPE.share_at(step) for step in (1, 3, 5)]


@pytest.mark.slow
def test_every_checkpoint_plays(data: Dataset, tmp_path: Path) -> None:
    newest = train(data, tmp_path, keep=3)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000002",
        "step-00000004",
        "step-00000006",
    ]
    assert checkpoint.load(tmp_path / "checkpoints/step-00000002").provenance["steps"] == 2
    env = gymnasium.make("HWM-v0", checkpoint=str(newest), task=None)
    env.reset(seed=0)
    env.step(np.zeros((17, 25), np.float32))


@pytest.mark.slow
def test_a_finished_run_is_left_alone(data: Dataset, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole.parents[1], tmp_path, symlinks=True, dirs_exist_ok=True)
    newest = tmp_path / whole.relative_to(whole.parents[1])
    before = (newest / STATE_FILE).stat().st_mtime_ns
    assert train(data, tmp_path, resume=True) == newest
    assert (newest / STATE_FILE).stat().st_mtime_ns == before
    with pytest.raises(InvalidInputError, match="already holds a training run"):
        train(data, tmp_path)
    with pytest.raises(InvalidInputError, match=r"training\.seed was 0, now 1"):
        train(data, tmp_path, replace(RECIPE, seed=1), resume=True)
    assert (newest / STATE_FILE).stat().st_mtime_ns == before


def test_a_loss_that_is_not_finite_stops_with_its_step_and_batch(data: Dataset, tmp_path: Path) -> None:
    explosive = replace(RECIPE, learning_rate=1e30, report_every=1)
    with pytest.raises(DivergedError, match=r"norm nan at step [1-5], in a batch with shard 0 clip \d+, "):
        train(data, tmp_path, explosive)
    # Saved before the loss was computed, with weights beyond float16: it cannot be loaded by mistake.
    with pytest.raises(CheckpointError, match=r"NaN or infinity in .* train it again"):
        checkpoint.load(tmp_path / "checkpoint")
    weights = load_file(tmp_path / "checkpoint" / "model.safetensors")
    assert all(weight.isfinite().all() for name, weight in weights.items() if name.startswith("actions.action_"))


@pytest.mark.slow
def test_a_full_disk_while_saving_loses_nothing(
    data: Dataset, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = run_module.torch.save, 0

    def save(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        original(*arguments)

    monkeypatch.setattr(run_module.torch, "save", save)
    with pytest.raises(SavingError, match=r"could not save step 4 .* the checkpoint of step 2 is whole"):
        train(data, tmp_path / "parts")
    monkeypatch.undo()
    assert_same_bits(whole, train(data, tmp_path / "parts", resume=True))


def test_data_that_do_not_fit_are_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"grid of \(2, 2\), the model is built for \(4, 4\)"):
        train_world_model(
            data, data, TOKENIZER, tmp_path / "run", replace(MODEL, grid_size=(4, 4)), RECIPE, device="cpu"
        )
    with pytest.raises(InvalidInputError, match="parallel_targets need temporal_mask 'clip_causal'"):
        train_world_model(
            data,
            data,
            TOKENIZER,
            tmp_path / "run",
            replace(MODEL, temporal_mask="bidirectional"),
            RECIPE,
            device="cpu",
        )
    with pytest.raises(InvalidInputError, match=r"micro_batch_size, got 4 and 3"):
        train(data, tmp_path / "run", replace(RECIPE, micro_batch_size=3))
    short = write_world(tmp_path / "short", num_clips=3)
    with pytest.raises(DatasetError, match="at least 2, so that actions can be shuffled"):
        train_world_model(data, short, TOKENIZER, tmp_path / "run", MODEL, RECIPE, device="cpu")
    assert not (tmp_path / "run/checkpoint").exists()


def test_tokens_of_another_tokenizer_are_refused(data: Dataset, tmp_path: Path) -> None:
    other = type(TOKENIZER)(TOKENIZER.config)
    with pytest.raises(CheckpointError, match="was tokenised by"):
        train_world_model(data, data, other, tmp_path / "run", MODEL, RECIPE, device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_action_statistics_are_those_of_the_training_split(data: Dataset, tmp_path: Path) -> None:
    other = write_world(tmp_path / "validation", seed=1)
    newest = train_world_model(data, other, TOKENIZER, tmp_path / "run", MODEL, RECIPE, device="cpu")
    expected = ActionStatistics.from_dataset(data)
    loaded = checkpoint.load(newest)
    np.testing.assert_array_equal(loaded.statistics.mean, expected.mean)
    # In half precision, as in checkpoints.
    torch.testing.assert_close(loaded.model.actions.action_mean, torch.tensor(expected.mean), rtol=1e-3, atol=1e-5)
    weights = new_model(MODEL, expected, seed=0).state_dict()
    assert weights["actions.action_std"][4] == pytest.approx(MIN_ACTION_STD)  # Not magnified by a division by zero.
    assert weights["actions.action_std"][0] == pytest.approx(expected.std[0])


def test_a_training_starts_from_another_models_weights(data: Dataset, tmp_path: Path) -> None:
    initial = new_model(MODEL, ActionStatistics.from_dataset(write_world(tmp_path / "other", seed=1)), seed=5)
    recipe = replace(RECIPE, steps=1, learning_rate=1e-9, matrix_learning_rate=None)
    with_lookback = replace(MODEL, spatial_lookback=True)
    trained = checkpoint.load(
        train_world_model(data, data, TOKENIZER, tmp_path / "run", with_lookback, recipe, device="cpu", initial=initial)
    ).model.state_dict()
    for name, weight in initial.state_dict().items():
        if not name.startswith("actions.action_"):
            torch.testing.assert_close(trained[name], weight, rtol=1e-3, atol=1e-4)
    fresh = new_model(with_lookback, ActionStatistics.from_dataset(data), seed=0).state_dict()
    for name in fresh.keys() - initial.state_dict().keys():
        torch.testing.assert_close(trained[name], fresh[name], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(trained["actions.action_mean"], ActionStatistics.from_dataset(data).mean, atol=1e-3)


def test_a_model_of_another_shape_cannot_be_started_from(data: Dataset, tmp_path: Path) -> None:
    statistics = ActionStatistics.from_dataset(data)
    for other in (replace(MODEL, num_layers=MODEL.num_layers + 1), replace(MODEL, mlp_width=2 * MODEL.mlp_width)):
        with pytest.raises(InvalidInputError, match="other weights: blocks"):
            train(data, tmp_path / "run", initial=new_model(other, statistics, seed=0))
    assert not (tmp_path / "run" / "checkpoints").exists() or not any((tmp_path / "run" / "checkpoints").iterdir())
