"""The distance between the painted and the carried pose of a clip."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwm_env.scene.pose_belief import PoseBelief
from hwm_env.simulator import Clip, WorldSimulator
from tests.scene.scenes import make_checkpoint, make_scene

NAN = torch.full((3,), torch.nan)


@pytest.fixture(scope="module")
def room_64() -> WorldSimulator:
    return WorldSimulator.from_pretrained("room-64")


def painted_offsets(simulator: WorldSimulator, moved: tuple[float, float, float]) -> torch.Tensor:
    """Returns offsets after a step from four starts whose carried poses are moved by x (m), y (m) and yaw (rad)."""
    state = simulator.reset([0, 3, 6, 9], [0] * 4)
    assert state.belief is not None
    wrong = PoseBelief(state.belief.poses + torch.tensor(moved), state.belief.covariances)
    resting = torch.from_numpy(np.repeat(state.actions[:, -1, -1:].numpy(), 17, axis=1))
    after, clip = simulator.step(replace(state, belief=wrong), resting)
    return simulator.painted_offset(after, clip)


@pytest.mark.slow
def test_a_wrong_carried_pose_shows_in_the_offset(room_64: WorldSimulator) -> None:
    """In the first step, the history contradicts the carried pose."""
    right = painted_offsets(room_64, (0.0, 0.0, 0.0))
    aside = painted_offsets(room_64, (0.3, 0.0, 0.0))
    turned = painted_offsets(room_64, (0.0, 0.0, 0.2))
    assert right.max() < 0.02
    assert aside.median() > 3 * right.median()
    assert turned.median() > 3 * right.median()


def test_clips_keep_the_path_of_the_base() -> None:
    simulator = WorldSimulator(make_checkpoint(make_scene(walls=True)))
    state = simulator.reset([0, 1, 2], [0, 0, 0])
    assert state.belief is not None
    assert simulator.scene is not None
    lost = replace(
        state, belief=state.belief._replace(poses=torch.stack([state.belief.poses[0], NAN, state.belief.poses[2]]))
    )
    chunk = torch.rand(3, 17, 25)
    after, clip = simulator.step(lost, chunk)
    assert clip.path is not None
    torch.testing.assert_close(clip.path[[0, 2]], simulator.scene.odometry(state.belief.poses, chunk)[[0, 2]])
    assert clip.path[1].isnan().all()
    twice = Clip.join([clip.select([2]), clip]).path
    assert twice is not None
    torch.testing.assert_close(twice, clip.path[[2, 0, 1, 2]], equal_nan=True)
    offsets = simulator.painted_offset(after, clip)
    assert offsets[1] == 0
    assert (offsets[[0, 2]] > 0).all()


def test_without_a_scene_the_offset_is_zero() -> None:
    simulator = WorldSimulator(replace(make_checkpoint(), scene=None))
    state, clip = simulator.step(simulator.reset([0], [0]), torch.zeros(1, 17, 25))
    assert clip.path is None
    assert simulator.painted_offset(state, clip).tolist() == [0.0]
