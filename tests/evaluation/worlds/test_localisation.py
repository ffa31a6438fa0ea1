from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hwm_env.checkpoint import load
from hwm_env.evaluation.worlds.localisation import LocatedStarts, carry_along, locate_starts
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS
from tests.scene.scenes import make_scene


class Starts:
    """Episodes made of the checkpoint's starts, each continued for two clips."""

    def __init__(self, simulator: WorldSimulator) -> None:
        starts = simulator.checkpoint.starts
        self.tokens = torch.cat([starts.tokens, starts.tokens[:, :2]], dim=1)
        self.actions = torch.cat([starts.actions, starts.actions[:, :2]], dim=1)
        assert starts.poses is not None
        self._poses = starts.poses[:, None].repeat(1, HISTORY_CLIPS + 2, 1)
        self._poses[:, HISTORY_CLIPS:] = torch.nan  # must not be looked at

    def __len__(self) -> int:
        return len(self.tokens)

    def poses(self) -> Tensor:
        return self._poses


@pytest.fixture
def simulator(tiny_checkpoint: Path) -> WorldSimulator:
    return WorldSimulator(replace(load(tiny_checkpoint), scene=make_scene()))


@pytest.mark.slow
def test_starts_are_located_as_worlds_locate_themselves(simulator: WorldSimulator) -> None:
    episodes = Starts(simulator)
    located = locate_starts(simulator, episodes)  # type: ignore[arg-type]
    together = simulator.begin(simulator.checkpoint.starts.tokens, simulator.checkpoint.starts.actions, [0, 1, 2, 3])
    assert located is not None
    assert together.belief is not None
    torch.testing.assert_close(located.poses, together.belief.poses)
    assert located.seconds.min() > 0
    result = located.compare(episodes)  # type: ignore[arg-type]
    assert result.error.position_m is not None
    assert result.seconds_a_reset == pytest.approx(located.seconds.quantile(0.5).item())
    off = (located.poses - episodes.poses()[:, HISTORY_CLIPS - 1])[:, :2].norm(dim=1)
    assert result.error.position_m.worst == pytest.approx(off.max().item(), abs=1e-5)


def test_a_world_that_knows_the_truth_is_not_off(simulator: WorldSimulator) -> None:
    episodes = Starts(simulator)
    result = LocatedStarts(episodes.poses()[:, HISTORY_CLIPS - 1], torch.ones(4)).compare(episodes)  # type: ignore[arg-type]
    assert result.error.position_m is not None
    assert result.error.heading_deg is not None
    assert result.error.position_m.worst == result.error.heading_deg.worst == result.error.unknown == 0.0


def test_without_a_scene_nothing_is_located(tiny_checkpoint: Path, simulator: WorldSimulator) -> None:
    blind = WorldSimulator.from_pretrained(tiny_checkpoint)
    assert locate_starts(blind, Starts(simulator)) is None  # type: ignore[arg-type]


def test_poses_are_carried_as_worlds_carry_theirs(simulator: WorldSimulator) -> None:
    starts = simulator.checkpoint.starts
    assert simulator.scene is not None
    assert starts.poses is not None
    begin, chunks = starts.poses.clone(), starts.actions[:, :3]
    begin[1] = torch.nan
    carried = carry_along(simulator.scene, begin, chunks)
    state = simulator.begin(starts.tokens, starts.actions, [0] * 4, poses=begin)
    for step in range(4):
        assert state.belief is not None
        torch.testing.assert_close(carried[:, step], state.belief.poses, equal_nan=True)
        if step < 3:
            state, _ = simulator.step(state, chunks[:, step])
    assert carried[1].isnan().all()
    assert (carried[0, 3] - carried[0, 0])[:2].norm() > 0.01
