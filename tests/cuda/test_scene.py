"""Poses, read-outs and offsets on a GPU are those of the CPU."""

from dataclasses import replace

import pytest
import torch

from hwm_env.checkpoint import Checkpoint, load
from hwm_env.scene.pose import wrap_angle
from hwm_env.simulator import WorldSimulator

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def there(device: torch.device) -> Checkpoint:
    return load("room-64", device=device)


def test_readouts_are_those_of_the_cpu(device: torch.device, room_64: Checkpoint, there: Checkpoint) -> None:
    tokens = room_64.starts.tokens[:8, -1]
    assert room_64.readout is not None
    assert there.readout is not None
    expected = room_64.readout.read(tokens)
    assert torch.allclose(there.readout.read(tokens.to(device)).cpu(), expected, atol=1e-3)


@pytest.mark.parametrize("searched", ["around the read-out", "in the whole room"])
def test_new_clips_are_located(device: torch.device, room_64: Checkpoint, there: Checkpoint, searched: str) -> None:
    if searched == "in the whole room":
        if device.type == "cpu":
            pytest.skip("this takes a core ten seconds")
        there = replace(there, readout=None)
    start = 5
    state = WorldSimulator(there).begin(
        room_64.starts.tokens[start : start + 1], room_64.starts.actions[start : start + 1], [0]
    )
    assert state.belief is not None
    assert room_64.starts.poses is not None
    assert state.belief.covariances.isfinite().all()
    found, recorded = state.belief.poses[0].cpu(), room_64.starts.poses[start]
    print(f"\n{searched}: located at {found.tolist()}, recorded at {recorded.tolist()}")
    assert (found[:2] - recorded[:2]).norm() < 0.15
    assert wrap_angle(found[2] - recorded[2]).abs() < 0.1


def test_offsets_and_scene_inputs_are_those_of_the_cpu(
    device: torch.device, room_64: Checkpoint, there: Checkpoint
) -> None:
    results = []
    for checkpoint in (room_64, there):
        simulator = WorldSimulator(checkpoint)
        state = simulator.reset([0, 1, 2], [0, 0, 0])
        poses = state.belief.poses.clone()
        poses[1] = torch.nan
        state = replace(state, belief=state.belief._replace(poses=poses))
        after, clip = simulator.step(state, room_64.starts.actions[[3, 4, 5], -1])
        # The offset of the same tokens.
        clip = replace(clip, tokens=room_64.starts.tokens[:3, -1].to(clip.tokens.device))
        offset = simulator.painted_offset(after, clip)
        inputs = simulator.scene.inputs(clip.path, after.actions[:, -1])
        results.append((offset.cpu(), inputs.cpu()))
    (offset, inputs), (offset_there, inputs_there) = results
    assert offset[1] == offset_there[1] == 0
    assert torch.allclose(offset_there, offset, atol=0.01)
    assert torch.allclose(inputs_there, inputs, atol=0.02)
