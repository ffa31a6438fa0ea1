"""Simulators whose model reads scene inputs: inputs, states, modes, replays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env import checkpoint as checkpoints
from hwm_env.decoding.config import DecodingConfig
from hwm_env.errors import CheckpointError, InvalidInputError
from hwm_env.model.masked_hwm import MaskedHWM
from hwm_env.replay import Replay, digest
from hwm_env.scene.paths import paths_ending_at
from hwm_env.scene.scene import Scene
from hwm_env.simulator import SLICE, WorldSimulator, WorldState
from tests.model.inputs import awake
from tests.scene.scenes import make_checkpoint, make_scene

PLACES = torch.tensor([[0.5, -1.0, 0.3], [-1.5, 0.2, 2.0], [torch.nan] * 3, [1.0, 1.0, -1.0]])


def joint_checkpoint(scene: Scene | None = None) -> checkpoints.Checkpoint:
    """Returns the tiny checkpoint with a model that reads scene inputs."""
    scene = scene or make_scene(history_weights=(1.0,))
    plain = make_checkpoint(scene)
    config = replace(plain.model.config, scene_width=scene.input_width, num_past_clips=3)
    starts = replace(plain.starts, tokens=plain.starts.tokens[:, -3:], actions=plain.starts.actions[:, -3:])
    return replace(plain, model=awake(MaskedHWM(config, torch.Generator().manual_seed(0))), starts=starts)


def make_simulator(history: str = "streaming", **options: Any) -> WorldSimulator:
    return WorldSimulator(joint_checkpoint(), DecodingConfig(steps=2, temperature=1.0, history=history), **options)


def begun(simulator: WorldSimulator, rows: list[int], clips: int = 3) -> WorldState:
    starts = simulator.checkpoint.starts
    seeds = [7 + row for row in rows]
    return simulator.begin(starts.tokens[rows, -clips:], starts.actions[rows, -clips:], seeds, poses=PLACES[rows])


def chunks(batch: int, seed: int) -> Tensor:
    return torch.rand(batch, 17, 25, generator=torch.Generator().manual_seed(seed))


def test_scene_inputs_are_features_and_log_probabilities_where_the_pose_is_known() -> None:
    scene = make_scene()
    chunk = chunks(4, 0)
    paths = torch.stack([scene.odometry(place[None], one[None])[0] for place, one in zip(PLACES, chunk, strict=True)])
    inputs = scene.inputs(paths, chunk)
    assert inputs.shape == (4, 64, scene.input_width)
    assert inputs.dtype == torch.float32
    assert not inputs[2].any()
    frames = [0, 8, 16]
    features = scene.model.features(paths[[0, 1, 3]][:, frames], chunk[[0, 1, 3]][:, frames])
    width = scene.model.config.width
    known = inputs[[0, 1, 3]]
    assert torch.allclose(known[..., :width], standardised(features), atol=1e-5)
    logits = scene.model(paths[[0, 1, 3]][:, frames], chunk[[0, 1, 3]][:, frames])
    digits = [part.log_softmax(dim=-1) for part in logits.split(scene.model.config.fsq_levels, dim=-1)]
    log_probs = torch.cat(digits, dim=-1).permute(0, 2, 3, 1, 4).flatten(1, 2).flatten(2)
    assert torch.allclose(known[..., width:], standardised(log_probs), atol=1e-5)


def standardised(values: Tensor) -> Tensor:
    """Values of mean 0 and variance 1 along the last axis."""
    centred = values - values.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()


def test_a_state_keeps_the_paths_of_its_history() -> None:
    simulator = make_simulator()
    state = begun(simulator, [0, 1, 2])
    paths = paths_ending_at(PLACES[:3], simulator.scene.odometry, state.actions)
    assert torch.allclose(state.paths[:, -1, -1], PLACES[:3], equal_nan=True, atol=1e-6)
    for step in range(2):
        chunk = chunks(3, step)
        paths = torch.cat([paths[:, 1:], simulator.scene.path(state.belief, chunk)[:, None]], dim=1)
        state, _ = simulator.step(state, chunk)
        assert torch.allclose(state.paths, paths, equal_nan=True, atol=1e-5)


@pytest.mark.slow
def test_a_localised_history_has_the_path_that_was_found() -> None:
    simulator = make_simulator()
    starts = simulator.checkpoint.starts
    state = simulator.begin(starts.tokens[:2], starts.actions[:2], (0, 1))
    assert state.paths.shape == (2, 3, 17, 3)
    assert torch.allclose(state.paths[:, -1, -1, :2], state.belief.poses[:, :2])
    simulator.scene.use = replace(simulator.scene.use, unknown_above=1e-3)
    nowhere = simulator.begin(starts.tokens[:1], starts.actions[:1], (0,))
    assert nowhere.paths.isnan().all()
    assert nowhere.belief.poses.isnan().all()


def test_scene_inputs_matter_and_unknown_poses_are_harmless() -> None:
    simulator = make_simulator()
    _, clip = simulator.step(begun(simulator, [0, 2]), chunks(2, 0))
    inputs = simulator.scene.inputs
    simulator.scene.inputs = lambda path, chunk: torch.zeros_like(inputs(path, chunk))  # type: ignore[method-assign]
    _, without = simulator.step(begun(simulator, [0, 2]), chunks(2, 0))
    assert not torch.allclose(clip.log_prob[0], without.log_prob[0])
    assert torch.equal(clip.tokens[1], without.tokens[1])


def test_before_a_clip_has_left_the_history_both_modes_are_equal() -> None:
    simulators = [make_simulator(history) for history in ("window", "streaming")]
    states = [begun(simulator, [0, 1], clips=1) for simulator in simulators]
    assert [state.encoded is None for state in states] == [True, False]
    for step in range(3):
        parts = [simulator.step(state, chunks(2, step)) for simulator, state in zip(simulators, states, strict=True)]
        states = [state for state, _ in parts]
        assert torch.equal(parts[0][1].tokens, parts[1][1].tokens)
        assert torch.allclose(parts[0][1].log_prob, parts[1][1].log_prob, atol=1e-4)


@pytest.mark.parametrize("history", ["window", "streaming"])
def test_forks_selected_and_joined_rows_continue_like_their_originals(history: str) -> None:
    simulator = make_simulator(history)
    state, _ = simulator.step(begun(simulator, [0, 1]), chunks(2, 0))
    chunk = chunks(2, 1)
    after, clip = simulator.step(state, chunk)
    others = {
        "rows": (state.select([1, 0, 1]), [1, 0, 1]),
        "joined": (WorldState.join([state.select([1]), state.select([0])]), [1, 0]),
        "forks of one": (simulator.fork(state.select([1]), 3), [1, 1, 1]),
        "forks of all": (simulator.fork(state, 2), [0, 0, 1, 1]),
    }
    for name, (other, rows) in others.items():
        following, other_clip = simulator.step(other, chunk[rows])
        assert torch.equal(other_clip.tokens, clip.tokens[rows]), name
        assert torch.equal(following.paths, after.paths[rows]), name


def test_scene_inputs_of_another_model_are_refused() -> None:
    simulator = make_simulator()
    state, _ = simulator.step(begun(simulator, [0, 1]), chunks(2, 0))
    assert state.encoded is not None
    narrower = state.encoded._replace(following_scene=state.encoded.following_scene[..., :-1])
    with pytest.raises(InvalidInputError, match="encoded history must be that of 2 clips"):
        simulator.step(replace(state, encoded=narrower), chunks(2, 1))


def test_strict_rows_equal_the_same_row_alone_to_the_bit() -> None:
    simulator = make_simulator(strict=True)
    count = SLICE + 2
    rows = [row % 4 for row in range(count)]
    together, chunk = begun(simulator, rows), chunks(count, 0)
    after, clip = simulator.step(together, chunk)
    for row in (0, 2, SLICE + 1):
        alone = begun(simulator, [rows[row]])
        assert torch.equal(alone.paths.nan_to_num(), together.paths[[row]].nan_to_num())
        alone_after, alone_clip = simulator.step(alone, chunk[row : row + 1])
        assert torch.equal(alone_clip.log_prob[0], clip.log_prob[row])
        assert torch.equal(alone_after.paths[0].nan_to_num(), after.paths[row].nan_to_num())


@pytest.mark.slow
@pytest.mark.parametrize("history", ["window", "streaming"])
def test_a_replay_repeats_the_episode(history: str, tmp_path: Path) -> None:
    checkpoints.save(joint_checkpoint(), tmp_path / "checkpoint")
    loaded = checkpoints.load(tmp_path / "checkpoint")
    simulator = WorldSimulator(loaded, DecodingConfig(steps=2, temperature=1.0, history=history))
    starts = loaded.starts
    # A path that does not follow from the wheels, like one found by the localiser.
    state = simulator.begin(starts.tokens[:1], starts.actions[:1], (3,))
    state = replace(state, paths=state.paths + 0.1 * torch.rand(state.paths.shape), encoded=None)
    replay = Replay.begin(simulator, state, 0)
    executed, digests = [], []
    for step in range(3):
        executed.append(chunks(1, step))
        state, clip = simulator.step(state, executed[-1])
        digests.append(digest(clip.tokens[0].numpy()))
    actions = torch.cat(executed).numpy()
    replace(replay, actions=actions, digests=np.array(digests)).save(tmp_path / "r.npz")
    again = Replay.load(tmp_path / "r.npz")
    assert all(equal for _, equal in again.run(again.make_simulator(tmp_path / "checkpoint")))
    replace(again, paths=again.paths[:1]).save(tmp_path / "broken.npz")
    with pytest.raises(InvalidInputError, match=r"expected \(3, 17, 3\), got \(1, 17, 3\)"):
        Replay.load(tmp_path / "broken.npz")


def test_a_prior_without_weight_is_not_computed() -> None:
    assert not make_scene(history_weights=(1.0,)).mixes((0, 5))
    late = make_scene(history_weights=(1.0, 0.5))
    assert [late.mixes(steps) for steps in ((0, 0), (0, 1), (7,))] == [False, True, True]
    assert late.prior(torch.zeros(2, 17, 3), chunks(2, 0), (0, 1)).own_weights.tolist() == [1.0, 0.5]
    simulator = make_simulator()
    simulator.scene.prior = None  # type: ignore[assignment,method-assign]
    simulator.step(begun(simulator, [0, 1]), chunks(2, 0))


def test_states_of_a_model_without_scene_inputs_have_no_paths() -> None:
    simulator = WorldSimulator(make_checkpoint())
    state, _ = simulator.step(simulator.reset([0], [0]), chunks(1, 0))
    assert state.belief is not None
    assert state.paths is None


def test_a_scene_of_another_width_does_not_fit() -> None:
    fitting = joint_checkpoint()
    width = fitting.scene.input_width
    with pytest.raises(CheckpointError, match=rf"0 scene inputs .* scene_width {width}; use the scene"):
        replace(fitting, scene=None)
    config = replace(fitting.model.config, scene_width=width + 1)
    with pytest.raises(CheckpointError, match=rf"{width} scene inputs .* scene_width {width + 1}"):
        replace(fitting, model=MaskedHWM(config))
    assert replace(fitting, model=MaskedHWM(replace(config, scene_width=0))).scene is fitting.scene
