"""The study of what each part of a closed loop costs: its loops with parts swapped for the truth, and its report."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from docs.studies import parts, world_tables
from docs.studies.stamps import stamp_of
from docs.studies.swapped_loops import Swap, run_swapped
from hwm_env.checkpoint import Checkpoint, load, save
from hwm_env.decoding.config import DecodingConfig, HistoryMode
from hwm_env.evaluation.worlds.closed_loops import run_closed_loops
from hwm_env.simulator import WorldSimulator
from hwm_env.types import ANGULAR_VELOCITY, HISTORY_CLIPS, LINEAR_VELOCITY
from tests.scene.scenes import make_checkpoint, make_scene

STEPS = 3
ALL = Swap(start=True, poses=True, tokens=True, weight="first")


class Episodes:
    """Two held-out episodes of random clips, whose true poses have nothing to do with their actions."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = 2, HISTORY_CLIPS + STEPS
        self.tokens = torch.randint(64_000, (*shape, 3, 8, 8), generator=generator).int()
        self.actions = 0.1 * torch.rand(*shape, 17, 25, generator=generator)
        self.actions[..., LINEAR_VELOCITY], self.actions[..., ANGULAR_VELOCITY] = 0.5, 0.2
        self._frames = torch.randint(256, (*shape, 17, 64, 64, 3), generator=generator, dtype=torch.uint8)
        self._poses = 2 * torch.rand(*shape, 3, generator=generator) - 1

    def __len__(self) -> int:
        return len(self.tokens)

    def poses(self) -> Tensor:
        return self._poses

    def frames(self, episode: int) -> Tensor:
        return self._frames[episode]


def checkpoint_of(history: HistoryMode = "window") -> Checkpoint:
    """Returns a checkpoint whose predictions depend on poses, past tokens and the weight of its two sources."""
    decoding = DecodingConfig(steps=1, temperature=0.0, history=history)
    return make_checkpoint(make_scene(history_weights=(0.5, 0.2)), decoding=decoding)


def swapped(checkpoint: Checkpoint, swap: Swap) -> Tensor:
    return run_swapped(checkpoint, Episodes(), swap, STEPS)  # type: ignore[arg-type]


@pytest.mark.slow
def test_without_a_swap_loops_are_as_shipped() -> None:
    checkpoint = checkpoint_of()
    expected = run_closed_loops(WorldSimulator(checkpoint), Episodes(), STEPS, 0).tokens  # type: ignore[arg-type]
    assert torch.equal(swapped(checkpoint, Swap()), expected)


@pytest.mark.slow
def test_with_all_swapped_each_clip_is_predicted_from_the_truth() -> None:
    """With a window, a loop of true clips is the same as a new world at each clip."""
    checkpoint, episodes = checkpoint_of(), Episodes()
    simulator = WorldSimulator(checkpoint)
    found = swapped(checkpoint, ALL)
    for step in range(STEPS):
        past = slice(step, step + HISTORY_CLIPS)
        poses = episodes.poses()[:, step + HISTORY_CLIPS - 1]
        state = simulator.begin(episodes.tokens[:, past], episodes.actions[:, past], [0, 1], poses=poses)
        _, clip = simulator.step(state, episodes.actions[:, step + HISTORY_CLIPS])
        assert torch.equal(found[:, step], clip.tokens)


@pytest.mark.slow
@pytest.mark.parametrize("history", ["window", "streaming"])
def test_each_swap_has_an_effect(history: HistoryMode) -> None:
    """The first clip depends on the start alone; each swap changes later ones in a way of its own."""
    checkpoint = checkpoint_of(history)
    swaps = {
        "nothing": Swap(start=True),
        "poses": replace(ALL, tokens=False, weight="shipped"),
        "tokens": replace(ALL, poses=False, weight="shipped"),
        "weight": replace(ALL, poses=False),
        "all": ALL,
    }
    loops = {name: swapped(checkpoint, swap) for name, swap in swaps.items()}
    for name, tokens in loops.items():
        assert torch.equal(tokens[:, 0], loops["nothing"][:, 0])
        assert all(not torch.equal(tokens, other) for of, other in loops.items() if of != name)


@pytest.mark.slow
def test_the_scene_alone_knows_no_past() -> None:
    checkpoint, swap = checkpoint_of(), Swap(start=True, weight="none")
    assert torch.equal(swapped(checkpoint, swap), swapped(checkpoint, replace(swap, tokens=True)))


@pytest.mark.slow
def test_the_report_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "held_out_episodes", lambda *_: Episodes())
    save(checkpoint_of(), tmp_path / "checkpoint")
    study = parts.Study(
        out=tmp_path / "out", json=tmp_path / "parts.json", checkpoint=str(tmp_path / "checkpoint"), steps=STEPS
    )
    parts.main(study)
    report = json.loads((tmp_path / "parts.json").read_text())
    psnr = report["psnr_db"]
    assert set(psnr) == {*parts.SWAPS, parts.TOKENIZER}
    assert list(psnr["nothing"]) == ["1", "mean"]
    for part, (with_error, without) in parts.COSTS.items():
        for step, cost in report["costs_db"][part].items():
            assert cost["value"] == pytest.approx(psnr[without][step] - psnr[with_error][step])
            assert cost["low"] <= cost["value"] <= cost["high"]
    assert [row[0] for row in world_tables.swaps(report)] == ["true", *psnr]
    assert [row[0] for row in world_tables.costs(report)[1:-1]] == list(parts.COSTS)
    assert report["stamp"] == stamp_of(load(study.checkpoint))

    def refuse(*_: Any) -> None:
        raise AssertionError("it has been run already")

    monkeypatch.setattr(parts, "run_swapped", refuse)
    again = parts.run(study)
    assert again == {name: report[name] for name in again}
