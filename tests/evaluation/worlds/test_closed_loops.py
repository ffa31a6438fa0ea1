"""Closed loops equal stepping a simulator by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hwm_env.checkpoint import load
from hwm_env.evaluation.worlds import closed_loops
from hwm_env.evaluation.worlds.closed_loops import continue_worlds
from hwm_env.simulator import WorldSimulator
from tests.scene.scenes import make_scene

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("has_scene", [False, True])
@pytest.mark.parametrize("gives_poses", [False, True])
def test_each_world_goes_on_from_its_own_predictions(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, has_scene: bool, gives_poses: bool
) -> None:
    monkeypatch.setattr(closed_loops, "BATCH", 2)
    scene = make_scene() if has_scene else None
    simulator = WorldSimulator(replace(load(tiny_checkpoint), scene=scene))
    config = simulator.checkpoint.model.config
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.codebook_size, (3, 9, 3, *config.grid_size), generator=generator).int()
    actions, chunks = torch.rand(3, 9, 17, 25, generator=generator), torch.rand(3, 4, 17, 25, generator=generator)
    poses = torch.rand(3, 3, generator=generator) if gives_poses else None
    loops = continue_worlds(simulator, tokens, actions, chunks, [5, 6, 7], poses=poses)
    assert (loops.poses is not None) == has_scene
    for world in range(3):
        row = slice(world, world + 1)
        given = None if poses is None else poses[row]
        state = simulator.begin(tokens[row], actions[row], [5 + world], poses=given)
        beliefs = [state.belief]
        for step in range(4):
            state, clip = simulator.step(state, chunks[row, step])
            beliefs.append(state.belief)
            assert torch.equal(loops.tokens[world, step], clip.tokens[0])
        if loops.poses is not None:
            by_hand = torch.stack([belief.poses[0] for belief in beliefs if belief is not None])
            torch.testing.assert_close(loops.poses[world], by_hand)
            assert by_hand.isfinite().all()
