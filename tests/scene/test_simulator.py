"""A simulator with a scene: carried poses and the scene's prior."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.decoding.config import DecodingConfig
from hwm_env.decoding.maskgit import Decoded, decode_clip
from hwm_env.decoding.prior import Prior
from hwm_env.errors import InvalidInputError
from hwm_env.reference import room
from hwm_env.reference.kinematics import move_base
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.scene.scene import Scene
from hwm_env.simulator import SLICE, Clip, WorldSimulator, WorldState
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY
from tests.scene.scenes import make_checkpoint, make_scene

SAMPLED = DecodingConfig(steps=3, temperature=1.0)
NAN = torch.full((1, 3), torch.nan)


def make_simulator(*, strict: bool = False, **use: Any) -> WorldSimulator:
    """Returns a simulator whose scene has the larger weight."""
    scene = make_scene(walls=True, **({"history_weights": (0.5, 0.1)} | use))
    return WorldSimulator(make_checkpoint(scene), SAMPLED, strict=strict)


def chunks(batch: int, seed: int = 0) -> Tensor:
    chunk = torch.rand(batch, 17, 25, generator=torch.Generator().manual_seed(seed))
    chunk[..., LINEAR_VELOCITY] = torch.linspace(1.5, -0.5, batch)[:, None]
    return chunk


def same_clip(one: Clip, other: Clip, row: int = 0, other_row: int = 0) -> bool:
    return all(
        torch.equal(getattr(one, part)[row], getattr(other, part)[other_row])
        for part in ("tokens", "log_prob", "entropy")
    )


def belief_of(state: WorldState) -> PoseBelief:
    assert state.belief is not None
    return state.belief


def test_a_state_loses_its_pose_in_a_simulator_without_a_scene() -> None:
    simulator = make_simulator()
    alone = WorldSimulator(replace(simulator.checkpoint, scene=None), SAMPLED)
    state = simulator.reset([0], [0])
    assert state.belief is not None
    assert alone.step(state, chunks(1))[0].belief is None


def test_a_reset_begins_at_the_poses_of_the_starts() -> None:
    simulator = make_simulator()
    recorded = simulator.checkpoint.starts.poses
    assert recorded is not None
    state = simulator.reset([2, 0, 2], [1, 2, 3])
    assert torch.equal(belief_of(state).poses, recorded[[2, 0, 2]])
    assert (belief_of(state).covariances == 0).all()


def test_the_pose_is_carried_as_the_reference_world_moves_its_base(monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = WorldSimulator(make_checkpoint(make_scene()), SAMPLED)
    monkeypatch.setattr(room, "is_free", lambda xy: True)
    state = simulator.reset([0, 1, 2], [0, 0, 0])
    expected = [pose.double().numpy() for pose in belief_of(state).poses]
    for step in range(3):
        chunk = chunks(3, seed=step)
        before = belief_of(state)
        kept = before.poses.clone()
        state, _ = simulator.step(state, chunk)
        assert torch.equal(before.poses, kept)
        for row in range(3):
            for frame in chunk[row]:
                expected[row] = move_base(expected[row], frame[LINEAR_VELOCITY].item(), frame[ANGULAR_VELOCITY].item())
            np.testing.assert_allclose(belief_of(state).poses[row], expected[row], atol=1e-4)


def test_the_prior_is_that_of_the_next_clips_path(monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = make_simulator()
    priors: list[Prior | None] = []

    def spied(*arguments: Any, prior: Prior | None, **named: Any) -> Decoded:
        priors.append(prior)
        return decode_clip(*arguments, prior=prior, **named)

    monkeypatch.setattr("hwm_env.engine.eager.decode_clip", spied)
    state = simulator.reset([0, 1], [0, 0])
    for step in range(3):
        chunk = chunks(2, seed=step)
        belief = belief_of(state)
        state, _ = simulator.step(state, chunk)
        assert simulator.scene is not None
        path = simulator.scene.odometry(belief.poses, chunk)
        prior = priors[-1]
        assert prior is not None
        frames = [0, 8, 16]
        expected = simulator.scene.model(path[:, frames], chunk[:, frames]).flatten(2, 3)
        torch.testing.assert_close(prior.logits, expected)
        assert prior.own_weights.tolist() == pytest.approx([0.5 if step == 0 else 0.1] * 2)


def test_poses_shuffled_between_rows_change_their_clips() -> None:
    simulator = make_simulator()
    state = simulator.reset([0, 1, 2], [0, 0, 0])
    belief = belief_of(state)
    shuffled = replace(state, belief=belief.select(torch.tensor([1, 2, 0])))
    _, clip = simulator.step(state, chunks(3))
    _, other = simulator.step(shuffled, chunks(3))
    for row in range(3):
        assert (clip.tokens[row] != other.tokens[row]).float().mean() > 0.2
    # They differ only through the prior, which the scene's weight scales.
    blind = make_simulator(history_weights=(1.0,))
    assert same_clip(blind.step(state, chunks(3))[1], blind.step(shuffled, chunks(3))[1])


def test_an_error_of_the_pose_stays_the_same() -> None:
    simulator = WorldSimulator(make_checkpoint(make_scene()), SAMPLED)
    starts = simulator.checkpoint.starts
    assert starts.poses is not None
    off = starts.poses[:2] + torch.tensor([0.3, 0.4, 0.0])
    right = simulator.reset([0, 1], [0, 0])
    wrong = simulator.begin(starts.tokens[:2], starts.actions[:2], [0, 0], poses=off)
    for step in range(2):
        right, _ = simulator.step(right, chunks(2, seed=step))
        wrong, _ = simulator.step(wrong, chunks(2, seed=step))
    difference = belief_of(wrong).poses - belief_of(right).poses
    torch.testing.assert_close(difference, torch.tensor([0.3, 0.4, 0.0]).expand(2, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("history", ["window", "streaming"])
def test_rows_of_unknown_pose_are_decoded_as_without_a_scene(history: Any) -> None:
    decoding = replace(SAMPLED, history=history)
    checkpoint = make_checkpoint(make_scene(walls=True))
    starts = checkpoint.starts
    simulator, without = (WorldSimulator(each, decoding) for each in (checkpoint, replace(checkpoint, scene=None)))
    state = simulator.begin(starts.tokens[:2], starts.actions[:2], [3, 4], poses=NAN.expand(2, 3))
    expected = without.begin(starts.tokens[:2], starts.actions[:2], [3, 4])
    assert expected.belief is None
    for step in range(2):
        state, clip = simulator.step(state, chunks(2, seed=step))
        expected, expected_clip = without.step(expected, chunks(2, seed=step))
        assert all(same_clip(clip, expected_clip, row, row) for row in range(2))
    assert not belief_of(state).known.any()


def test_a_row_of_known_pose_does_not_affect_one_of_unknown_pose() -> None:
    checkpoint = make_checkpoint(make_scene(walls=True))
    simulator, without = (
        WorldSimulator(each, SAMPLED, strict=True) for each in (checkpoint, replace(checkpoint, scene=None))
    )
    starts = checkpoint.starts
    poses = torch.cat([NAN, torch.tensor([[1.0, 0.0, 0.0]])])
    state = simulator.begin(starts.tokens[:2], starts.actions[:2], [3, 4], poses=poses)
    alone = without.begin(starts.tokens[:2], starts.actions[:2], [3, 4])
    _, clip = simulator.step(state, chunks(2))
    _, expected = without.step(alone, chunks(2))
    assert same_clip(clip, expected, 0, 0)
    assert not same_clip(clip, expected, 1, 1)


@pytest.mark.slow
def test_strict_rows_equal_the_same_row_alone_to_the_bit() -> None:
    simulator = make_simulator(strict=True)
    starts = simulator.checkpoint.starts
    indices = [0, 1, 2, 3] * 3
    poses = torch.rand(12, 3, generator=torch.Generator().manual_seed(0)) * 6 - 3
    poses[5] = torch.nan
    together = simulator.begin(starts.tokens[indices], starts.actions[indices], range(12), poses=poses)
    rows = (0, 5, 7, 8, 11)
    alone = [
        simulator.begin(starts.tokens[[indices[row]]], starts.actions[[indices[row]]], [row], poses=poses[[row]])
        for row in rows
    ]
    assert len(together) > SLICE
    for step in range(2):
        chunk = chunks(12, seed=step)
        together, batch = simulator.step(together, chunk)
        for index, row in enumerate(rows):
            alone[index], clip = simulator.step(alone[index], chunk[row : row + 1])
            assert same_clip(batch, clip, row)
            for part, own in zip(belief_of(together), belief_of(alone[index]), strict=True):
                assert torch.equal(part[row].nan_to_num(9.0), own[0].nan_to_num(9.0))


def test_histories_are_located_independently_to_the_bit() -> None:
    simulator = make_simulator(strict=True)
    starts = simulator.checkpoint.starts
    clips = slice(-2, None)
    together = belief_of(simulator.begin(starts.tokens[:3, clips], starts.actions[:3, clips], [0, 1, 2]))
    for row in (0, 2):
        one = slice(row, row + 1)
        alone = belief_of(simulator.begin(starts.tokens[one, clips], starts.actions[one, clips], [row]))
        assert torch.equal(alone.poses, together.poses[one])
        assert torch.equal(alone.covariances, together.covariances[one])


def test_the_search_begins_at_the_read_out_of_each_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The read-outs do not depend on other rows, to the bit."""
    simulator = make_simulator(strict=True)
    seen: list[Tensor] = []

    def spied(scene: Scene, tokens: Tensor, actions: Tensor, clip_poses: Tensor, expected: Tensor | None) -> PoseBelief:
        seen.append(clip_poses)
        assert expected is None
        return PoseBelief.certain(NAN.expand(len(tokens), 3))

    monkeypatch.setattr("hwm_env.simulator.locate", spied)
    starts, readout = simulator.checkpoint.starts, simulator.checkpoint.readout
    assert readout is not None
    simulator.begin(starts.tokens, starts.actions, range(4))
    together = seen.pop()
    assert together.shape == (4, 9, 3)
    torch.testing.assert_close(together[1, 4], readout.read(starts.tokens[1:2, 4])[0, :3])
    for row in range(4):
        simulator.begin(starts.tokens[[row]], starts.actions[[row]], [0])
        assert torch.equal(seen.pop()[0], together[row])


@pytest.mark.slow
def test_a_place_outside_the_map_is_unknown() -> None:
    """Random tokens have a loss above the bound of a trained map."""
    simulator = make_simulator(unknown_above=1.0)
    starts = simulator.checkpoint.starts
    state = simulator.begin(starts.tokens[:1, -1:], starts.actions[:1, -1:], [0])
    assert not belief_of(state).known.any()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_forks_have_the_belief_of_their_row(count: int) -> None:
    simulator = make_simulator(strict=True)
    state, _ = simulator.step(simulator.reset(range(count), range(count)), chunks(count))
    forks = simulator.fork(state, 3)
    for row in range(count):
        assert torch.equal(belief_of(forks).poses[3 * row : 3 * row + 3], belief_of(state).poses[[row]].expand(3, 3))
    chunk = chunks(count, seed=1)
    after, clip = simulator.step(forks, chunk.repeat_interleave(3, dim=0))
    expected_state, expected = simulator.step(state, chunk)
    for row in range(3 * count):
        assert same_clip(clip, expected, row, row // 3)
        assert torch.equal(belief_of(after).poses[row], belief_of(expected_state).poses[row // 3])


def test_beliefs_are_selected_and_joined_with_their_rows() -> None:
    simulator = make_simulator()
    state = simulator.reset([0, 1, 2], [0, 1, 2])
    picked = state.select([2, 0])
    joined = WorldState.join([picked, state])
    assert torch.equal(belief_of(joined).poses, belief_of(state).poses[[2, 0, 0, 1, 2]])
    with pytest.raises(AssertionError, match="1 of 2 batches have a belief"):
        WorldState.join([state, replace(state, belief=None)])


def test_states_without_a_belief_continue_with_a_scene() -> None:
    checkpoint = make_checkpoint()
    simulator, without = (WorldSimulator(each, SAMPLED) for each in (checkpoint, replace(checkpoint, scene=None)))
    old = without.reset([0, 1], [0, 1])
    state, clip = simulator.step(old, chunks(2))
    _, expected = without.step(old, chunks(2))
    assert state.belief is None
    assert all(same_clip(clip, expected, row, row) for row in range(2))


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        (torch.zeros(3), r"shape \(2, 3\), got \(3,\)"),
        (torch.zeros(2, 2), r"shape \(2, 3\), got \(2, 2\)"),
        (torch.zeros(1, 3), r"shape \(2, 3\), got \(1, 3\)"),
        (torch.full((2, 3), torch.inf), "inf"),
    ],
)
def test_poses_that_do_not_fit_are_refused(poses: Tensor, message: str) -> None:
    simulator = make_simulator()
    starts = simulator.checkpoint.starts
    with pytest.raises(InvalidInputError, match=message):
        simulator.begin(starts.tokens[:2], starts.actions[:2], [0, 1], poses=poses)
