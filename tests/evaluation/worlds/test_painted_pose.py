"""Painted poses, with a localiser that has the answers and with the real one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hwm_env.checkpoint import load
from hwm_env.evaluation.worlds import painted_pose
from hwm_env.evaluation.worlds.closed_loops import Loops
from hwm_env.evaluation.worlds.painted_pose import BEGINNINGS, measure_painted_pose
from hwm_env.scene.localiser import Localisation
from hwm_env.simulator import WorldSimulator
from tests.scene.scenes import make_scene

WORLDS, STEPS = 3, 11


@pytest.fixture
def simulator(tiny_checkpoint: Path) -> WorldSimulator:
    scene = make_scene()
    scene.use = replace(scene.use, unknown_above=9.0)
    return WorldSimulator(replace(load(tiny_checkpoint), scene=scene))


@pytest.fixture
def loops() -> Loops:
    """Makes loops whose tokens encode world and step, and whose poses drift from the truth, 0, by 0.1 m a step."""
    world, step = torch.arange(WORLDS)[:, None], torch.arange(1, STEPS + 1)
    tokens = (100 * world + step)[:, :, None, None, None].expand(-1, -1, 3, 8, 8).int()
    poses = torch.zeros(WORLDS, STEPS + 1, 3)
    poses[:, :, 1] = -0.1 * torch.arange(STEPS + 1)
    poses[2, 10] = torch.nan
    return Loops(tokens, poses)


def test_clips_that_show_the_truth_are_as_far_from_the_belief_as_that_drifts(
    simulator: WorldSimulator, loops: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, begun = [], []

    def localise(model: object, motion: object, tokens: Tensor, actions: Tensor, beginnings: Tensor) -> Localisation:
        seen.append(tokens[:, :, 0, 0, 0])
        begun.append(beginnings)
        losses = torch.tensor([1.0, 10.0, 1.0])[: len(tokens)]
        poses, unused = torch.zeros(len(tokens), 3), torch.empty(0)
        return Localisation(poses, torch.zeros(len(tokens), 3, 3), losses, unused)

    monkeypatch.setattr(painted_pose, "localise", localise)
    actions, truth = torch.zeros(WORLDS, STEPS, 17, 25), torch.zeros(WORLDS, STEPS, 3)
    result = measure_painted_pose(simulator, loops, actions, truth, steps=(3, 10, 20))
    assert result.keys() == {"3", "10"}
    # After ten steps, the newest nine clips; the world without a carried pose is left out.
    assert seen[1].tolist() == [list(range(2, 11)), list(range(102, 111))]
    assert seen[0][0].tolist() == [1, 2, 3]
    after_ten = result["10"]
    assert after_ten.from_truth.position_m is not None
    assert after_ten.from_carried.position_m is not None
    assert after_ten.from_truth.position_m.worst == 0.0
    assert after_ten.from_carried.position_m.worst == pytest.approx(1.0)
    # One is unlikely everywhere, the other unknown.
    assert after_ten.from_truth.unknown == pytest.approx(2 / 3)
    # The carried pose, poses around it, and readings of each clip and of all clips.
    assert begun[1].shape == (2, len(BEGINNINGS) + 1 + 9, 3)
    carried = loops.poses[0, 10]
    torch.testing.assert_close(begun[1][0, 0], carried)
    torch.testing.assert_close(begun[1][0, 1], carried + torch.tensor([0.4, 0.0, 0.0]))
    assert len(begun[1][0].unique(dim=0)) > len(BEGINNINGS)


def test_the_search_itself_comes_to_known_places(simulator: WorldSimulator, loops: Loops) -> None:
    assert simulator.scene is not None
    simulator.scene.use = replace(simulator.scene.use, unknown_above=None)
    actions, truth = torch.zeros(WORLDS, STEPS, 17, 25), torch.zeros(WORLDS, STEPS, 3)
    result = measure_painted_pose(simulator, loops, actions, truth, steps=(2,))["2"]
    assert (result.from_truth.count, result.from_truth.unknown) == (WORLDS, 0.0)
