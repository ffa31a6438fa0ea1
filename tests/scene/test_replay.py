"""Replays of episodes with a carried pose."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwm_env.checkpoint import load, save
from hwm_env.errors import InvalidInputError
from hwm_env.replay import Replay, digest
from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.simulator import WorldSimulator, WorldState
from tests.scene.scenes import make_checkpoint, make_scene

STEPS = 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    save(make_checkpoint(make_scene(walls=True, history_weights=(0.3,))), directory)
    return directory


def lived(simulator: WorldSimulator, state: WorldState) -> tuple[Replay, WorldState]:
    """Returns the replay of an episode of random actions."""
    replay = Replay.begin(simulator, state, 1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        chunk = torch.rand(1, 17, 25, generator=generator)
        state, clip = simulator.step(state, chunk)
        replay = replace(
            replay,
            actions=np.concatenate([replay.actions, chunk.numpy()]),
            digests=np.append(replay.digests, digest(clip.tokens[0].numpy())),
        )
    return replay, state


def state_of(simulator: WorldSimulator, place: str) -> WorldState:
    state, _ = simulator.step(simulator.reset([1], [5]), torch.rand(1, 17, 25))
    assert state.belief is not None
    if place == "unknown":
        return replace(state, belief=PoseBelief.certain(torch.full((1, 3), torch.nan)))
    if place == "uncertain":
        return replace(state, belief=PoseBelief(torch.tensor([[0.5, -1.0, 3.0]]), 0.1 * torch.eye(3)[None]))
    return state


@pytest.mark.slow
@pytest.mark.parametrize("place", ["recorded", "uncertain", "unknown"])
def test_an_episode_is_repeated_from_a_file(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    simulator = WorldSimulator.from_pretrained(checkpoint, temperature=1.0)
    state = state_of(simulator, place)
    replay, _ = lived(simulator, state)
    replay.save(tmp_path / "episode.npz")
    loaded = Replay.load(tmp_path / "episode.npz")
    assert state.belief is not None
    assert loaded.pose.dtype == loaded.pose_covariance.dtype == np.float32
    np.testing.assert_array_equal(loaded.pose, state.belief.poses[0])
    np.testing.assert_array_equal(loaded.pose_covariance, state.belief.covariances[0])
    again = loaded.make_simulator(checkpoint)
    believed = []
    step = again.step
    monkeypatch.setattr(again, "step", lambda state, chunk: (believed.append(state.belief), step(state, chunk))[1])
    assert [is_equal for _, is_equal in loaded.run(again)] == [True] * STEPS
    for part, expected in zip(believed[0], state.belief, strict=True):
        np.testing.assert_array_equal(part, expected)


def test_another_pose_is_another_episode(checkpoint: Path) -> None:
    simulator = WorldSimulator.from_pretrained(checkpoint, temperature=1.0)
    replay, _ = lived(simulator, state_of(simulator, "recorded"))
    elsewhere = replace(replay, pose=replay.pose + np.float32(1))
    assert not next(elsewhere.run(simulator))[1]


def rewritten(path: Path, **changes: np.ndarray | None) -> Path:
    with np.load(path) as content:
        arrays = {name: content[name] for name in content}
    kept = {name: array for name, array in (arrays | changes).items() if array is not None}
    out = path.with_name("rewritten.npz")
    np.savez_compressed(out, **kept)
    return out


@pytest.mark.slow
def test_a_file_from_before_carried_poses_existed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint, temperature=1.0)
    replay, _ = lived(simulator, simulator.reset([1], [5]))
    replay.save(tmp_path / "episode.npz")
    old = Replay.load(rewritten(tmp_path / "episode.npz", pose=None, pose_covariance=None))
    assert old.pose.shape == (0,)
    assert [is_equal for _, is_equal in old.run(old.make_simulator(tiny_checkpoint))] == [True] * STEPS


@pytest.mark.parametrize(
    "changes",
    [
        {"pose": None},
        {"pose_covariance": None},
        {"pose": np.zeros(2, np.float32)},
        {"pose_covariance": np.zeros(3, np.float32)},
    ],
    ids=str,
)
def test_half_a_pose_is_refused(checkpoint: Path, tmp_path: Path, changes: dict[str, np.ndarray | None]) -> None:
    simulator = WorldSimulator.from_pretrained(checkpoint)
    Replay.begin(simulator, simulator.reset([0], [0]), 0).save(tmp_path / "episode.npz")
    with pytest.raises(InvalidInputError, match="not a replay file"):
        Replay.load(rewritten(tmp_path / "episode.npz", **changes))


def test_the_identity_of_the_scene_is_checked(checkpoint: Path, tmp_path: Path) -> None:
    simulator = WorldSimulator.from_pretrained(checkpoint)
    replay = Replay.begin(simulator, simulator.reset([0], [0]), 0)
    other = load(checkpoint)
    save(replace(other, scene=make_scene(seed=1)), tmp_path)
    with pytest.raises(InvalidInputError, match="recorded with the checkpoint"):
        replay.make_simulator(tmp_path)
