"""With 0 decoding steps, the scene alone predicts clips where the pose is known."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig
from hwm_env.errors import InvalidInputError
from hwm_env.scene.model import at_keyframes
from hwm_env.simulator import WorldSimulator, WorldState
from tests.scene.scenes import make_checkpoint, make_scene

ALONE = DecodingConfig(steps=0, temperature=0.0, history="streaming")
NOWHERE = torch.full((1, 3), torch.nan)


def make_simulator(decoding: DecodingConfig = ALONE, **options: Any) -> WorldSimulator:
    return WorldSimulator(make_checkpoint(make_scene(history_weights=(0.5,))), decoding, **options)


def begun(simulator: WorldSimulator, poses: Tensor) -> WorldState:
    """Returns a state whose rows begin at given poses."""
    history = simulator.reset([0] * len(poses), range(len(poses)))
    return simulator.begin(history.tokens, history.actions, history.seeds, poses=poses)


def chunks(batch: int) -> Tensor:
    return torch.rand(batch, 17, 25, generator=torch.Generator().manual_seed(0))


def test_tokens_are_the_most_probable_ones_of_the_scene() -> None:
    simulator, poses, chunk = make_simulator(), torch.tensor([[0.5, 0.2, 0.3], [-1.0, 0.0, 2.0]]), chunks(2)
    after, clip = simulator.step(begun(simulator, poses), chunk)
    scene = simulator.scene
    assert scene is not None
    assert clip.path is not None
    assert after.belief is not None
    logits = scene.model(at_keyframes(clip.path), at_keyframes(chunk))
    digits, log_prob = [], torch.zeros(clip.tokens.shape)
    for part in logits.split(list(scene.model.config.fsq_levels), dim=-1):
        best = part.log_softmax(dim=-1).max(dim=-1)
        digits.append(best.indices)
        log_prob += best.values
    expected = scene.model.head.fsq.digits_to_codes(torch.stack(digits, dim=-1))
    assert torch.equal(clip.tokens, expected.int())
    torch.testing.assert_close(clip.log_prob, log_prob)
    assert torch.equal(after.tokens[:, -1], clip.tokens)
    assert torch.equal(after.belief.poses[:, :2], clip.path[:, -1, :2])


def test_the_history_has_no_influence() -> None:
    simulator, poses = make_simulator(), torch.tensor([[0.5, 0.2, 0.3]])
    state = begun(simulator, poses)
    other = replace(state, tokens=state.tokens.roll(1, dims=-1))
    assert torch.equal(simulator.step(state, chunks(1))[1].tokens, simulator.step(other, chunks(1))[1].tokens)


def test_in_an_unknown_place_the_world_model_predicts_in_one_step() -> None:
    simulator, chunk = make_simulator(), chunks(3)
    poses = torch.cat([torch.tensor([[0.5, 0.2, 0.3]]), NOWHERE, torch.tensor([[-1.0, 0.0, 2.0]])])
    after, mixed = simulator.step(begun(simulator, poses), chunk)
    alone = make_simulator(replace(ALONE, steps=1, history="window"))
    _, expected = alone.step(begun(alone, NOWHERE.expand(3, -1)), chunk)
    assert torch.equal(mixed.tokens[1], expected.tokens[1])
    _, known = simulator.step(begun(simulator, poses[[0, 2]]), chunk[[0, 2]])
    assert torch.equal(mixed.tokens[[0, 2]], known.tokens)
    assert after.belief is not None
    assert after.belief.known.tolist() == [True, False, True]


def test_samples_are_those_of_each_rows_seed() -> None:
    simulator, pose = make_simulator(replace(ALONE, temperature=1.0)), torch.tensor([[0.5, 0.2, 0.3]])
    state = begun(simulator, pose.expand(3, -1))
    state, chunk = replace(state, seeds=(5, 6, 5)), chunks(1).expand(3, -1, -1)
    first, clip = simulator.step(state, chunk)
    assert torch.equal(clip.tokens[0], clip.tokens[2])
    assert not torch.equal(clip.tokens[0], clip.tokens[1])
    _, again = simulator.step(replace(first, belief=state.belief), chunk)
    assert not torch.equal(again.tokens[0], clip.tokens[0])


def test_a_strict_row_equals_the_row_alone() -> None:
    simulator = make_simulator(strict=True)
    poses = torch.cat([torch.rand(9, 3, generator=torch.Generator().manual_seed(1)), NOWHERE])
    state, chunk = begun(simulator, poses), chunks(10)
    _, together = simulator.step(state, chunk)
    for row in (0, 8, 9):
        _, alone = simulator.step(state.select([row]), chunk[[row]])
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert torch.equal(alone.log_prob[0], together.log_prob[row])


def test_steps_can_be_changed_on_the_way() -> None:
    simulator, poses = make_simulator(), torch.tensor([[0.5, 0.2, 0.3]])
    state, _ = simulator.step(begun(simulator, poses), chunks(1))
    assert state.encoded is None
    simulator.decoding = replace(ALONE, steps=1)
    continued, _ = simulator.step(state, chunks(1))
    assert continued.encoded is not None
    simulator.decoding = ALONE
    assert simulator.step(continued, chunks(1))[0].encoded is None


def test_a_state_without_a_pose_is_continued_by_the_world_model() -> None:
    simulator = make_simulator()
    state = replace(begun(simulator, NOWHERE), belief=None)
    assert simulator.step(state, chunks(1))[1].path is None


def test_a_checkpoint_without_a_scene_needs_a_step() -> None:
    checkpoint = replace(make_checkpoint(), scene=None)
    with pytest.raises(InvalidInputError, match="at least 1 for a checkpoint without a scene, got 0"):
        WorldSimulator(checkpoint, ALONE)
    simulator = WorldSimulator(checkpoint, replace(ALONE, steps=1))
    with pytest.raises(InvalidInputError, match="without a scene"):
        simulator.decoding = ALONE
    assert simulator.decoding.steps == 1


@pytest.mark.slow
def test_openvino_draws_the_frames_of_these_tokens() -> None:
    pytest.importorskip("openvino")
    poses, chunk = torch.tensor([[0.5, 0.2, 0.3]]), chunks(1)
    clips = [
        simulator.step(begun(simulator, poses), chunk)[1]
        for simulator in (make_simulator(), make_simulator(backend="openvino"))
    ]
    assert torch.equal(clips[0].tokens, clips[1].tokens)
    assert (clips[0].frames.int() - clips[1].frames.int()).abs().max() <= 1
