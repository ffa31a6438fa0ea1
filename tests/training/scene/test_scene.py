"""The scene model learns data in which tokens are a function of the pose, and can be stopped at any time."""

import json
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwm_env.data.reader import Dataset
from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.windows import ClipWindows
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, DivergedError, InvalidInputError
from hwm_env.evaluation.worlds.scene_scores import judge_scene
from hwm_env.scene.map import MapConfig
from hwm_env.scene.model import SceneConfig, SceneModel
from hwm_env.scene.rendering import PosedClips, most_probable
from hwm_env.training.scene import train as module
from hwm_env.training.scene.clips import ClipSource, chosen_clips, clips_of_step, gather_clips, on_device
from hwm_env.training.scene.train import SceneTrainingConfig, train_scene
from tests.scene.scenes import ARM, CAMERA
from tests.training.worlds import MODEL, TOKENIZER

GRID, LEVELS = MODEL.grid_size, MODEL.fsq_levels
MAP = MapConfig(cell_m=1.0, cell_height_m=1.0, channels=4, hidden=8, features=4, samples=4)
SCENE = SceneConfig(fsq_levels=LEVELS, grid_size=GRID, map=MAP, width=16, num_blocks=1, conv_groups=1)
CONFIG = SceneTrainingConfig(
    steps=6, warmup_steps=2, batch_size=4, report_every=2, validation_clips=4, precision="float32"
)


def write_world(directory: Path, num_clips: int = 20, *, seed: int = 0, poses: bool = True) -> Dataset:
    """Writes clips of a base that jumps between clips and turns a little in them; tokens are a function of x."""
    rng = np.random.default_rng(seed)
    of_clip = rng.uniform(-3, 3, (num_clips, 3))
    tokens = np.broadcast_to((of_clip[:, 0] > 0)[:, None, None, None] * 7 + 2, (num_clips, 3, *GRID))
    of_frames = np.repeat(of_clip, 17, axis=0).astype(np.float32)
    of_frames[:, 2] += 0.01 * (np.arange(len(of_frames)) % 17)
    writer = DatasetWriter(directory, token_grid=GRID, tokenizer=TOKENIZER.identity)
    writer.write_shard(
        0,
        states=rng.normal(size=(num_clips * 17, 25)).astype(np.float32),
        segments=np.zeros(num_clips * 17, np.int32),
        tokens=np.ascontiguousarray(tokens, np.int32),
        poses=of_frames if poses else None,
    )
    writer.finish()
    return Dataset(directory)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_world(tmp_path_factory.mktemp("data"))


class InterruptionError(Exception):
    """Simulates a kill."""


def test_stopping_and_resuming_changes_no_bit(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_scene(data, data, TOKENIZER, tmp_path / "whole", SCENE, CONFIG)
    steps: list[int] = []
    train_step = module._train_step

    def step_or_interruption(*arguments: Any) -> float:
        steps.append(arguments[-1])
        if len(steps) == 6:  # One step after the state of step 4 was saved.
            raise InterruptionError
        return train_step(*arguments)

    monkeypatch.setattr(module, "_train_step", step_or_interruption)
    with pytest.raises(InterruptionError):
        train_scene(data, data, TOKENIZER, tmp_path / "parts", SCENE, CONFIG)
    resumed = train_scene(data, data, TOKENIZER, tmp_path / "parts", SCENE, CONFIG, resume=True)
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5]
    assert not resumed.training
    expected, got = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    for name in ("model", "optimizer"):
        states = [
            torch.load(tmp_path / run / "checkpoint/state.pt", weights_only=True)["parts"][name]
            for run in ("whole", "parts")
        ]
        torch.testing.assert_close(*states, rtol=0, atol=0)
    logs = [
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    ]
    for one, other in zip(*logs, strict=True):
        assert one | {"clips_per_s": 0} == other | {"clips_per_s": 0}
    # There is nothing left to do.
    again = train_scene(data, data, TOKENIZER, tmp_path / "parts", SCENE, CONFIG, resume=True)
    assert all(torch.equal(expected[name], again.state_dict()[name]) for name in expected)


@pytest.mark.slow
def test_it_learns_what_a_place_shows(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=60, batch_size=32, report_every=60, validation_clips=100, learning_rate=1e-2)
    data = write_world(tmp_path / "data", 300)
    other = write_world(tmp_path / "other", 40, seed=1)
    model = train_scene(data, other, TOKENIZER, tmp_path / "run", SCENE, config)
    (entry,) = (json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    assert entry["step"] == 60
    assert entry["validation_loss"] < 0.5 * np.log(12)
    assert entry["validation_psnr"] > entry["validation_psnr_shuffled_poses"] + 3
    clips = gather_clips(ClipWindows(other, 1), np.arange(40))
    with torch.no_grad():
        logits = model(clips.poses, clips.numbers)
        assert (most_probable(model, logits) == clips.tokens).float().mean() > 0.85
        expected = model.head.cross_entropy(logits, clips.tokens).mean().item()
    # In batches of 32 and of 8, each clip has the same weight.
    assert judge_scene(model, clips, TOKENIZER).loss == pytest.approx(expected, abs=1e-5)
    assert entry["validation_loss"] == pytest.approx(expected, abs=1e-5)


def test_clips_come_with_the_poses_and_numbers_of_their_keyframes(data: Dataset) -> None:
    clips = gather_clips(ClipWindows(data, 1), np.array([3, 1]))
    shard = data.shards[0]
    assert shard.poses is not None
    assert shard.tokens is not None
    for row, clip in enumerate((3, 1)):
        assert np.array_equal(clips.tokens[row], shard.tokens[clip])
        for index, frame in enumerate((0, 8, 16)):
            assert np.array_equal(clips.poses[row, index], shard.poses[17 * clip + frame])
            assert np.array_equal(clips.numbers[row, index], shard.states[17 * clip + frame])


def test_windows_give_the_poses_of_all_their_frames(data: Dataset) -> None:
    windows = ClipWindows(data, 3)
    poses = windows.gather_poses(np.array([0, 5]))
    assert (poses.shape, poses.dtype) == ((2, 3, 17, 3), np.float32)
    shard = data.shards[0]
    assert shard.poses is not None
    np.testing.assert_array_equal(poses[1].reshape(-1, 3), shard.poses[5 * 17 : 8 * 17])
    with pytest.raises(InvalidInputError, match="from 0 to 17"):
        windows.gather_poses(np.array([18]))


def test_data_without_poses_are_refused(data: Dataset, tmp_path: Path) -> None:
    blind = write_world(tmp_path / "blind", 3, poses=False)
    for splits in ((blind, data), (data, blind)):
        with pytest.raises(DatasetError, match="blind has no base poses"):
            train_scene(*splits, TOKENIZER, tmp_path / "run", SCENE, CONFIG)


def test_a_pose_that_is_not_finite_is_not_served(tmp_path: Path) -> None:
    write_world(tmp_path, 6)
    (path,) = tmp_path.rglob("poses_0.bin")
    poses = np.fromfile(path, np.float32).reshape(-1, 3)
    poses[40, 1] = np.nan
    poses.tofile(path)
    windows = ClipWindows(Dataset(tmp_path), 2)
    windows.gather_poses(np.array([0, 3]))
    for index in (1, 2):
        with pytest.raises(DatasetError, match=r"poses of shard 0, frame 40: got .*nan"):
            windows.gather_poses(np.array([0, index]))


def test_the_seed_decides_and_the_global_generator_does_not(data: Dataset, tmp_path: Path) -> None:
    short = replace(CONFIG, steps=2)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = train_scene(data, data, TOKENIZER, tmp_path / "a", SCENE, short).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    same = train_scene(data, data, TOKENIZER, tmp_path / "b", SCENE, short).state_dict()
    other = train_scene(data, data, TOKENIZER, tmp_path / "c", SCENE, replace(short, seed=1)).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.project.weight"], other["head.project.weight"])


def test_a_run_is_not_written_over_nor_resumed_with_another_recipe(data: Dataset, tmp_path: Path) -> None:
    short = replace(CONFIG, steps=1)
    train_scene(data, data, TOKENIZER, tmp_path / "run", SCENE, short)
    with pytest.raises(InvalidInputError, match="already holds a training run"):
        train_scene(data, data, TOKENIZER, tmp_path / "run", SCENE, short)
    with pytest.raises(InvalidInputError, match=r"another configuration: .*width was 16, now 32"):
        train_scene(data, data, TOKENIZER, tmp_path / "run", replace(SCENE, width=32), short, resume=True)


def test_a_loss_that_is_not_finite_ends_the_training(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="the loss became nan"):
        train_scene(data, data, TOKENIZER, tmp_path, SCENE, replace(CONFIG, learning_rate=1e30, warmup_steps=0))


@pytest.mark.parametrize("broken_step", [3, 4])
def test_weights_that_are_not_finite_are_not_saved(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_step: int
) -> None:
    """After step 4, the loss is finite and the weights are not; after step 3, the loss is not finite either."""
    train_step = module._train_step

    def step(model: Any, *arguments: Any) -> torch.Tensor:
        loss = train_step(model, *arguments)
        if arguments[-1] == broken_step - 1:
            with torch.no_grad():
                model.positions.fill_(torch.nan)
        return loss

    monkeypatch.setattr(module, "_train_step", step)
    with pytest.raises(DivergedError, match="the loss became nan; the last saved state"):
        train_scene(data, data, TOKENIZER, tmp_path, SCENE, CONFIG)
    state = torch.load(tmp_path / "checkpoint/state.pt", weights_only=True)["parts"]["model"]
    assert (tmp_path / "checkpoint").resolve().name == "step-00000002"
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_a_run_in_minutes_ends_in_time_and_at_the_end_of_its_schedule(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, minutes=0.01, steps=1000, report_every=7)
    rates, train_step = [], module._train_step

    def step(model: Any, optimizer: Any, *arguments: Any) -> torch.Tensor:
        rates.append(optimizer.param_groups[0]["lr"])
        return train_step(model, optimizer, *arguments)

    monkeypatch.setattr(module, "_train_step", step)
    started_s = time.monotonic()
    first = train_scene(data, data, TOKENIZER, tmp_path, SCENE, config)
    assert 0.6 < time.monotonic() - started_s < 30
    assert rates[0] == config.learning_rate / 2
    assert rates[1] > rates[-1]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [*range(7, len(rates), 7), len(rates)]
    # There is no time left.
    again = train_scene(data, data, TOKENIZER, tmp_path, SCENE, config, resume=True)
    assert lines[-1]["step"] == len(rates)
    assert all(torch.equal(first.state_dict()[name], again.state_dict()[name]) for name in first.state_dict())


def test_batches_from_a_device_are_those_from_the_files(data: Dataset) -> None:
    windows = ClipWindows(data, 1)
    indices = clips_of_step(0, 3, 50, len(windows))
    expected = ClipSource(windows, torch.device("cpu"))(indices)
    got = chosen_clips(on_device(windows, torch.device("cpu")), torch.from_numpy(indices))
    for one, other in zip(expected, got, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    first = clips_of_step(1, 2, 1000, 30)
    assert np.array_equal(first, clips_of_step(1, 2, 1000, 30))
    assert np.array_equal(first[:7], clips_of_step(1, 2, 7, 30))
    assert not np.array_equal(first, clips_of_step(1, 3, 1000, 30))
    assert not np.array_equal(first, clips_of_step(2, 2, 1000, 30))
    assert np.bincount(first, minlength=30).min() > 10


def test_a_step_needs_no_tensor_of_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without memory stand in for those of a GPU; they have no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    device = torch.device("meta")
    model = SceneModel(replace(SCENE, camera=CAMERA, limbs=(ARM,), rays_per_side=2)).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    poses, numbers = torch.zeros(5, 3, 3, device=device), torch.zeros(5, 3, 25, device=device)
    batch = PosedClips(torch.zeros(5, 3, *GRID, dtype=torch.int32, device=device), poses, numbers)
    assert module._train_step(model, optimizer, batch, torch.zeros((), device=device), CONFIG, 0).device == device


def test_only_the_planes_learn_fast_and_keep_their_weights() -> None:
    model = module.new_scene(SCENE, statistics_of_nothing(), 0)
    others, planes = module._optimizer(model, CONFIG).param_groups
    assert {id(weight) for weight in planes["params"]} == {id(weight) for weight in model.map.planes}
    assert len(others["params"]) + 3 == len(list(model.parameters()))
    assert (others["peak"], planes["peak"]) == (CONFIG.learning_rate, CONFIG.plane_learning_rate)
    assert (others["weight_decay"], planes["weight_decay"]) == (CONFIG.weight_decay, 0.0)


def test_a_training_starts_from_another_scenes_weights(data: Dataset, tmp_path: Path) -> None:
    initial = module.new_scene(SCENE, statistics_of_nothing(), 5)
    still = replace(CONFIG, steps=1, learning_rate=1e-9, plane_learning_rate=1e-9)
    trained = train_scene(data, data, TOKENIZER, tmp_path, SCENE, still, initial=initial)
    for (name, weight), begun in zip(trained.named_parameters(), initial.parameters(), strict=True):
        torch.testing.assert_close(weight, begun, rtol=0, atol=1e-6, msg=name)
    torch.testing.assert_close(trained.number_mean, torch.tensor(ActionStatistics.from_dataset(data).mean))


def statistics_of_nothing() -> Any:
    return type("Statistics", (), {"mean": np.zeros(25, np.float32), "std": np.ones(25, np.float32)})()


@pytest.mark.parametrize("field", ["batch_size", "report_every", "validation_clips", "steps"])
def test_recipes_that_cannot_be_are_refused(field: str) -> None:
    with pytest.raises(InvalidInputError, match=field):
        replace(CONFIG, **{field: 0})
