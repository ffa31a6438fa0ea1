"""Training a model to read a scene's inputs: inputs, corruption, validation, and a run from end to end."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env import checkpoint, cli
from hwm_env.data.reader import Dataset
from hwm_env.data.samples import ClipSamples
from hwm_env.data.statistics import ActionStatistics
from hwm_env.decoding.config import DecodingConfig
from hwm_env.draws import seeds_of
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.simulator import WorldSimulator
from hwm_env.training.world_model.estimate import training_cost
from hwm_env.training.world_model.objective import (
    MaskedModelling,
    SampleBatch,
    arrange,
    draw_targets,
    hide_all,
)
from hwm_env.training.world_model.scene_inputs import scene_inputs, scene_of
from hwm_env.training.world_model.train import train_world_model
from hwm_env.training.world_model.trainee import Trainee, TrainingStep, new_model
from hwm_env.training.world_model.validation import Validation
from tests.model.inputs import awake
from tests.scene.scenes import CONFIG, make_checkpoint, make_scene
from tests.training.states import assert_same_bits
from tests.training.worlds import MODEL, RECIPE, TOKENIZER, write_world

ROOM = replace(CONFIG, grid_size=MODEL.grid_size, fsq_levels=MODEL.fsq_levels, width=8)
SCENE = make_scene(config=ROOM)
READER = replace(MODEL, scene_width=SCENE.input_width)
SHORT = replace(RECIPE, steps=4)
NO_NOISE = (0.0, 0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_world(tmp_path_factory.mktemp("data"), with_poses=True)


@pytest.fixture
def batch(data: Dataset) -> SampleBatch:
    return some(data, [0, 3, 5, 6])


def some(data: Dataset, indices: list[int]) -> SampleBatch:
    parts = ClipSamples(data, 2, with_poses=True)[np.array(indices)]
    return SampleBatch(**{name: torch.from_numpy(part) for name, part in parts.items()})  # type: ignore[typeddict-item]


@pytest.fixture
def model() -> MaskedHWM:
    return awake(MaskedHWM(READER, torch.Generator().manual_seed(0)))


def train(data: Dataset, directory: Path, recipe: Any = SHORT, **options: Any) -> Path:
    options = {"scene": SCENE, "shape": READER} | options
    shape = options.pop("shape")
    return train_world_model(data, data, TOKENIZER, directory, shape, recipe, device="cpu", **options)


def test_the_inputs_of_each_clip_are_those_at_its_own_pose(batch: SampleBatch) -> None:
    inputs = scene_inputs(SCENE, batch, torch.tensor([1, 2, 3, 4]), NO_NOISE)
    assert inputs.shape == (4, 3, 4, SCENE.input_width)
    poses, actions = batch["poses_past"][2, 17:34], batch["actions_past"][2, 17:34]
    assert torch.allclose(inputs[2, 1], SCENE.inputs(poses[None], actions[None])[0], atol=1e-5)
    assert torch.allclose(inputs[:, 2], SCENE.inputs(batch["poses_future"], batch["actions_future"]), atol=1e-5)


def test_the_poses_of_a_sample_are_shifted_alike_by_its_seed(
    batch: SampleBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(SCENE, "inputs", lambda paths, chunks: (seen.append(paths), paths)[1])
    scene_inputs(SCENE, batch, torch.tensor([1, 2, 3, 4]), (0.1, 0.01))
    scene_inputs(
        SCENE, SampleBatch(**{name: part[2:] for name, part in batch.items()}), torch.tensor([3, 4]), (0.1, 0.01)
    )  # type: ignore[typeddict-item]
    poses = torch.cat([batch["poses_past"], batch["poses_future"]], dim=1)
    shifts = seen[0].view(4, 51, 3) - poses
    assert torch.allclose(shifts, shifts[:, :1].expand_as(shifts), atol=1e-6)
    assert torch.equal(seen[1], seen[0][6:])
    many = [
        scene_inputs(SCENE, some_rows(batch, 1), torch.tensor([seed]), (0.1, 0.01)).view(51, 3)[0]
        for seed in range(400)
    ]
    spread = torch.stack(many).std(dim=0)
    assert torch.allclose(spread, torch.tensor([0.1, 0.1, 0.01]), rtol=0.15)


@pytest.mark.slow
def test_a_share_of_the_samples_has_empty_inputs(batch: SampleBatch) -> None:
    """These are those of an unknown place; the inputs of the others do not change."""
    silent = 0
    for seed in range(200):
        inputs = scene_inputs(SCENE, some_rows(batch, 1), torch.tensor([seed]), NO_NOISE, unknown_share=0.3)
        if (inputs == 0).all():
            silent += 1
        else:
            assert torch.equal(inputs, scene_inputs(SCENE, some_rows(batch, 1), torch.tensor([seed]), NO_NOISE))
    assert 40 <= silent <= 80


def some_rows(batch: SampleBatch, count: int) -> SampleBatch:
    return SampleBatch(**{name: part[:count] for name, part in batch.items()})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("parallel_targets", [True, False])
def test_inputs_are_divided_like_the_clips(batch: SampleBatch, model: MaskedHWM, parallel_targets: bool) -> None:
    inputs = torch.arange(3.0)[None, :, None, None].expand(4, 3, 4, SCENE.input_width)
    targets = arrange(model, batch, parallel_targets=parallel_targets, scene_BTSC=inputs)
    assert targets.scene_past[0, :, 0, 0].tolist() == [0.0, 1.0]
    assert targets.scene_future[0, :, 0, 0].tolist() == ([1.0, 2.0] if parallel_targets else [2.0])


def test_a_share_of_the_pasts_is_spoilt(batch: SampleBatch, model: MaskedHWM) -> None:
    targets = arrange(model, batch, parallel_targets=True)
    targets = targets._replace(
        past=targets.past[:1].expand(600, -1, -1, -1, -1), tokens=targets.tokens[:1].expand(600, -1, -1, -1, -1)
    )
    seeds, codes = seeds_of(0, 1, range(600)), model.config.codebook_size
    without, spoilt = (draw_targets(targets, seeds, codes, 0.0, spoilt_share=share) for share in (0.0, 0.4))
    assert torch.equal(without.past, targets.past)
    changed = (spoilt.past != targets.past).float().mean(dim=(1, 2, 3, 4))
    # 24 tokens; half of them on average, and one in twelve random tokens is the true one.
    assert (changed > 0).float().mean().item() == pytest.approx(0.4 * 0.95, abs=0.06)
    assert changed[changed > 0].mean().item() == pytest.approx(0.5, abs=0.06)
    shown = ~spoilt.hidden
    assert torch.equal(spoilt.future[shown], targets.tokens[shown]), "the future is as before"


def test_own_predictions_use_the_inputs(batch: SampleBatch, model: MaskedHWM) -> None:
    inputs = scene_inputs(SCENE, batch, torch.tensor([1, 2, 3, 4]), NO_NOISE)
    targets = arrange(model, batch, parallel_targets=True, scene_BTSC=inputs)
    drawn = draw_targets(targets, torch.tensor([1, 2, 3, 4]), model.config.codebook_size, 0.0, num_own=4)
    drawn = drawn._replace(own=torch.tensor([[False, True]] * 4))
    with torch.no_grad():
        sums = MaskedModelling(model, parallel_targets=True)(drawn)
        first = torch.full((4, 1, 3, 2, 2), model.config.codebook_size)
        logits = model.predict(
            *(drawn.past[:, :1], first, drawn.actions_past[:, :17], drawn.actions_future[:, :17], torch.tensor([1])),
            parallel_targets=False,
            scene_p=inputs[:, :1],
            scene_f=inputs[:, 1:2],
        )
        digits = torch.stack([part.argmax(-1) for part in model.head.split(logits)], dim=-1)
        past = torch.cat([drawn.past[:, :1], model.head.fsq.digits_to_codes(digits).int()], dim=1)
        expected = MaskedModelling(model, parallel_targets=True)(drawn._replace(past=past, own=None))
    torch.testing.assert_close(sums.loss, expected.loss)


def test_validation_computes_inputs_along_the_path_of_the_actions(data: Dataset, model: MaskedHWM) -> None:
    """A model that gets actions only through the scene still has a higher loss with shuffled actions."""
    recipe = replace(RECIPE, validation_samples=3, pose_noise=NO_NOISE)
    model.actions.action_std.fill_(torch.inf)
    validation = Validation(ClipSamples(data, 2, with_poses=True), recipe, TOKENIZER, torch.device("cpu"), SCENE)
    losses = validation.losses(model)
    assert validation.losses(model) == losses
    num_samples = len(ClipSamples(data, 2))
    batch = some(data, [0, (num_samples - 1) // 2, num_samples - 1])
    for shift, measured in ((0, losses.next_clip_loss), (1, losses.next_clip_loss_shuffled_actions)):
        actions = batch["actions_future"].roll(-shift, dims=0)
        future = SCENE.path(PoseBelief.certain(batch["poses_past"][:, -1]), actions)
        other = SampleBatch(**{**batch, "actions_future": actions, "poses_future": future})  # type: ignore[typeddict-item]
        inputs = scene_inputs(SCENE, other, torch.zeros(3, dtype=torch.int64), NO_NOISE)
        targets = hide_all(arrange(model, other, parallel_targets=False, scene_BTSC=inputs), model.config.codebook_size)
        with torch.no_grad():
            sums = MaskedModelling(model, parallel_targets=False)(targets)
        assert measured == pytest.approx((sums.loss / targets.counts).mean().item(), rel=1e-5)
    assert losses.next_clip_loss_shuffled_actions != losses.next_clip_loss
    preview = validation.preview(model)
    assert preview is not None
    assert preview.psnr_true_actions != preview.psnr_shuffled_actions


@pytest.mark.slow
def test_a_training_with_a_scene_can_be_played_and_resumed(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(SHORT, own_predictions=0.5)
    whole = train(data, tmp_path / "whole", recipe)
    loaded = checkpoint.load(whole)
    assert loaded.model.config == READER
    assert loaded.scene.use.history_weights == (1.0,)
    assert SCENE.use.history_weights != (1.0,), "the one that was given is as it was"
    torch.testing.assert_close(loaded.scene.state_dict(), SCENE.state_dict(), rtol=1e-3, atol=1e-3)
    assert loaded.model.scene.project.weight.any()
    world = WorldSimulator(loaded, DecodingConfig(steps=2))
    state, _ = world.step(world.reset([0, 1], [0, 1]), torch.zeros(2, 17, 25))
    assert state.paths is not None

    class DeathError(Exception): ...

    original = Trainee.step

    def die(self: Trainee, step: int, *given: Any, **options: Any) -> TrainingStep:
        if step == 3:
            raise DeathError
        return original(self, step, *given, **options)

    monkeypatch.setattr(Trainee, "step", die)
    with pytest.raises(DeathError):
        train(data, tmp_path / "parts", recipe)
    monkeypatch.undo()
    other = make_scene(config=ROOM, seed=1)
    with pytest.raises(InvalidInputError, match="scene was"):
        train(data, tmp_path / "parts", recipe, resume=True, scene=other)
    assert_same_bits(whole, train(data, tmp_path / "parts", recipe, resume=True, workers=2))


@pytest.mark.slow
def test_the_first_loss_is_that_of_the_model_to_start_from(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initial = awake(new_model(MODEL, ActionStatistics.from_dataset(data), seed=5))
    recipe = replace(RECIPE, steps=1, scene_corruption_share=0.0)
    results: list[TrainingStep] = []
    original = Trainee.step

    def note(self: Trainee, *given: Any, **options: Any) -> TrainingStep:
        results.append(original(self, *given, **options))
        return results[-1]

    monkeypatch.setattr(Trainee, "step", note)
    train(data, tmp_path / "with", recipe, initial=initial)
    train(data, tmp_path / "without", recipe, initial=initial, scene=None, shape=MODEL)
    assert torch.equal(results[0].loss, results[1].loss)


def test_what_does_not_fit_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=rf"scene_width 0, expected {SCENE.input_width}, the .* of the scene"):
        train(data, tmp_path / "run", shape=MODEL)
    with pytest.raises(InvalidInputError, match=rf"scene_width {SCENE.input_width}, expected 0, the .* of no scene"):
        train(data, tmp_path / "run", scene=None)
    with pytest.raises(DatasetError, match="has no base poses"):
        train(write_world(tmp_path / "no-poses"), tmp_path / "run")
    with pytest.raises(InvalidInputError, match=r"has no scene; .* hwm-env train-scene"):
        scene_of(replace(make_checkpoint(), scene=None))
    assert not (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.slow
def test_the_cost_of_reading_is_counted() -> None:
    without, cost = training_cost(MODEL, RECIPE), training_cost(READER, RECIPE)
    assert cost.parameters == without.parameters + (SCENE.input_width + 1) * MODEL.width
    assert cost.step_flops > without.step_flops
    assert cost.activation_bytes > without.activation_bytes


@pytest.mark.slow
def test_the_command_takes_the_scene_of_a_checkpoint(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = checkpoint.load(train(data, tmp_path / "first", replace(SHORT, steps=1)))
    checkpoint.save(replace(trained, provenance={"scene": {"validation": 1.0}}), tmp_path / "world")
    world, again = str(tmp_path / "world"), tmp_path / "again"
    argv = ["train", str(data.directory), "--validation", str(data.directory), "--out", str(again)]
    argv += ["--tokenizer", world, "--scene", world, "--initial", world, "--preset", "tiny", "--steps", "1"]
    argv += ["--model.num-past-clips", "2", "--validation-samples", "2", "--preview-samples", "2", "--device", "cpu"]
    cli.main(argv)
    loaded = checkpoint.load(again / "checkpoint")
    assert loaded.model.config == READER
    assert loaded.scene is not None
    assert loaded.provenance["scene"] == {"validation": 1.0, "checkpoint": world}
    assert f"wrote {again}" in capsys.readouterr().out
