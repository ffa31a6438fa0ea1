"""Closed loops step a simulator as one would by hand."""

from pathlib import Path

import torch

from hwm_env.evaluation import closed_loops
from hwm_env.evaluation.closed_loops import continue_worlds
from hwm_env.simulator import WorldSimulator


def test_each_world_goes_on_from_its_own_predictions(tiny_checkpoint: Path, monkeypatch) -> None:
    monkeypatch.setattr(closed_loops, "WORLDS_AT_ONCE", 2)
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    config = simulator.checkpoint.model.config
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.codebook_size, (3, 9, 3, *config.grid_size), generator=generator).int()
    actions, chunks = torch.rand(3, 9, 17, 25, generator=generator), torch.rand(3, 4, 17, 25, generator=generator)
    predicted = continue_worlds(simulator, tokens, actions, chunks, [5, 6, 7])
    for world in range(3):
        state = simulator.begin(tokens[world : world + 1], actions[world : world + 1], [5 + world])
        for step in range(4):
            state, clip = simulator.step(state, chunks[world : world + 1, step])
            assert torch.equal(predicted[world, step], clip.tokens[0])
