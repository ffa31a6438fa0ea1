"""Certificates of worlds that are known to follow or to ignore their actions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.data.statistics import ActionStatistics
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import InvalidInputError
from hwm_env.evaluation.worlds.action_variations import derangement, mirrored, redirected, shuffled, variations
from hwm_env.evaluation.worlds.certificate import certify
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.inverse_dynamics import NAMES, InverseDynamicsConfig, differences_shown, explained
from hwm_env.simulator import Clip, WorldSimulator, WorldState
from hwm_env.types import ACTION_NAMES, ANGULAR_VELOCITY, LINEAR_VELOCITY

EPISODES, CLIPS, SIZE = 16, 12, 64
LEARNING = InverseDynamicsConfig(steps=200, width=8)


class HalfLit:
    """A tokenizer of frames whose right half has the token as its brightness, 0 to 7; the left half is constant."""

    fsq_levels = (8, 8, 8, 5, 5, 5)
    codebook_size = 64_000
    identity = token_identity = "half lit"
    spatial_compression = 8

    def encode(self, clips: Tensor) -> Tensor:
        return (clips[:, 0, 0, -1, 0].int() // 30).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)

    def decode(self, tokens: Tensor) -> Tensor:
        frames = torch.full((len(tokens), 17, SIZE, SIZE, 3), 100, dtype=torch.uint8)
        frames[:, :, :, SIZE // 2 :] = (30 * tokens[:, 0, 0, 0]).to(torch.uint8).view(-1, 1, 1, 1, 1)
        return frames


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> HeldOut:
    """Episodes whose brightness shows angular velocities of -3.5 to 3.5 rad/s; other numbers are invisible noise."""
    directory = tmp_path_factory.mktemp("held-out")
    rng = np.random.default_rng(0)
    lit = rng.integers(8, size=EPISODES * CLIPS)
    states = rng.standard_normal((EPISODES * CLIPS, 25)).astype(np.float32)
    states[:, [LINEAR_VELOCITY, ANGULAR_VELOCITY]] = lit[:, None] - 3.5
    writer = DatasetWriter(directory, image_size=(SIZE, SIZE))
    frames = HalfLit().decode(torch.from_numpy(lit).view(-1, 1, 1, 1)).flatten(0, 1).numpy()
    segments = np.arange(EPISODES, dtype=np.int32).repeat(CLIPS * 17)
    writer.write_shard(0, states=states.repeat(17, axis=0), segments=segments, frames=frames)
    writer.finish()
    return HeldOut(directory, HalfLit(), clips_per_episode=CLIPS, num_episodes=EPISODES)


def clip_of(lit: Tensor) -> Clip:
    tokens = lit.round().int().clamp(0, 7).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    return Clip(tokens, torch.zeros(tokens.shape), torch.zeros(tokens.shape), HalfLit())


def obeys(state: WorldState, actions: Tensor) -> tuple[WorldState, Clip]:
    return state, clip_of(actions[:, 0, ANGULAR_VELOCITY] + 3.5)


def ignores(state: WorldState, actions: Tensor) -> tuple[WorldState, Clip]:
    return state, clip_of(state.tokens[:, -1, 0, 0, 0].float())


def dreams(state: WorldState, actions: Tensor) -> tuple[WorldState, Clip]:
    """A world that changes all the time, whatever the actions."""
    return state, clip_of((state.tokens[:, -1, 0, 0, 0].float() + 3) % 8)


def certified(tiny_checkpoint: Path, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch, step: Any) -> Any:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    simulator.tokenizer = HalfLit()
    simulator.checkpoint = replace(simulator.checkpoint, statistics=statistics(bound=3.5, max_change=7.0))
    monkeypatch.setattr(simulator, "step", step)
    return certify(simulator, held_out, closed_loop_steps=3, inverse_dynamics=LEARNING)


@pytest.mark.slow
def test_a_world_that_obeys_is_certified(
    tiny_checkpoint: Path, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = certified(tiny_checkpoint, held_out, monkeypatch, obeys)
    assert report["verdict"]["answers"] is True
    assert report["windows"] == (EPISODES - 10) * 3
    assert report["actions"]["true"] == {"psnr": 100, "psnr_moving": 100, "psnr_still": 100, "token_accuracy": 1}
    assert report["actions"]["shuffled"]["psnr_still"] == 100
    assert report["actions"]["shuffled"]["psnr_moving"] < 30
    assert all(gap["low"] > 10 for gap in report["gaps"].values())
    recognised = report["inverse_dynamics"]
    assert recognised["real"]["driving"] > 0.8
    assert recognised["predicted"]["driving"] == pytest.approx(recognised["real"]["driving"])
    assert recognised["difference"]["driving"] > 0.7
    assert recognised["real"]["left arm"] < 0.3  # Nobody sees it, and it is not held against the world.
    assert report["closed_loop"]["psnr"] == [100.0] * 3


@pytest.mark.slow
@pytest.mark.parametrize("step", [ignores, dreams])
def test_a_world_that_does_not_listen_is_not(
    tiny_checkpoint: Path, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    report = certified(tiny_checkpoint, held_out, monkeypatch, step)
    assert report["verdict"]["answers"] is False
    assert report["gaps"]["shuffled"]["value"] == 0
    assert report["inverse_dynamics"]["difference"]["driving"] == 0
    assert "0.0 dB better (0.0 to 0.0)" in report["verdict"]["reasons"][0]
    same = report["actions"]["repeat_last_frame"]["psnr_moving"] == report["actions"]["true"]["psnr_moving"]
    assert same == (step is ignores)


def test_too_few_episodes_are_refused(tiny_checkpoint: Path, held_out: HeldOut) -> None:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    with pytest.raises(InvalidInputError, match="at least 4 episodes of 29 clips"):
        certify(simulator, held_out, closed_loop_steps=20)


def test_shares_explained() -> None:
    wanted = torch.tensor([1.0, 2.0, 6.0]).view(3, 1).expand(3, len(NAMES))
    # Errors of 1 each: a sum of 3 squares, of 14 around the mean 3.
    assert explained(wanted + 1, wanted)["neck"] == pytest.approx(1 - 3 / 14)
    # Errors that are independent of the actions do not count.
    aside = torch.tensor([4.0, 1.0, -1.0]).view(3, 1)
    assert differences_shown(0.3 * wanted + aside, wanted)["neck"] == pytest.approx(0.3)
    assert differences_shown(0 * wanted, wanted)["neck"] == 0


def test_a_mirror_shows_the_other_side() -> None:
    chunk = torch.arange(25.0).view(1, 1, 25) + 1
    seen = dict(zip(ACTION_NAMES, mirrored(chunk)[0, 0].tolist(), strict=True))
    plain = dict(zip(ACTION_NAMES, chunk[0, 0].tolist(), strict=True))
    assert seen["left_elbow_pitch"] == plain["right_elbow_pitch"]
    assert seen["right_hand_closure"] == plain["left_hand_closure"]
    assert seen["angular_velocity"] == -plain["angular_velocity"]
    assert seen["linear_velocity"] == plain["linear_velocity"]
    assert torch.equal(mirrored(mirrored(chunk)), chunk)


def test_variations() -> None:
    actions = torch.randn(7, 10, 17, 25)
    made = variations(actions, statistics(), seed=0)
    assert torch.equal(made["true"], actions[:, 9])
    assert torch.equal(made["delayed"], actions[:, 8])
    assert not made["zeroed"].any()
    sources = [int((actions[:, 9] == chunk).flatten(1).all(1).nonzero()) for chunk in made["shuffled"]]
    assert sorted(sources) == list(range(7))
    assert all(source != window for window, source in enumerate(sources))
    assert torch.equal(shuffled(actions[:, 9], 0), made["shuffled"])


def test_redirected_actions_are_the_others_moves_from_here() -> None:
    """Slow actions, which neither bounds nor rates change."""
    moves = torch.randn(5, 10, 17, 25).cumsum(2) * 1e-3
    actions = moves + 0.1 * torch.arange(5.0).view(5, 1, 1, 1)
    made = redirected(actions, statistics(), seed=0)
    other = derangement(5, 0)
    now = actions[:, 8, 16]
    joints = slice(0, LINEAR_VELOCITY)
    changes = actions[other, 9] - now[other][:, None]
    torch.testing.assert_close((made - now[:, None])[..., joints], changes[..., joints])
    torch.testing.assert_close(made[..., LINEAR_VELOCITY:], actions[other, 9][..., LINEAR_VELOCITY:])


def test_redirected_actions_are_possible() -> None:
    actions = 3 * torch.randn(5, 2, 17, 25)
    actions[:, 0, 16] = actions[:, 0, 16].clamp(-1, 1)
    made = redirected(actions, statistics(max_change=0.1), seed=0)
    frames = torch.cat([actions[:, :1, 16], made], dim=1)
    assert frames.diff(dim=1).abs().max() <= 0.1 + 1e-6
    assert made.abs().max() <= 1
    # Towards the wanted actions at the largest rates, frame by frame.
    wanted = (actions[int(derangement(5, 0)[0]), 1, 0, ANGULAR_VELOCITY]).clamp(-1, 1)
    now = actions[0, 0, 16, ANGULAR_VELOCITY]
    assert made[0, 0, ANGULAR_VELOCITY] == pytest.approx(float(now + (wanted - now).clamp(-0.1, 0.1)))


def statistics(bound: float = 1.0, max_change: float = 1.0) -> ActionStatistics:
    ones = np.ones(25, np.float32)
    low, high = -bound * ones, bound * ones
    return ActionStatistics(
        mean=0 * ones, std=ones, low=low, high=high, p01=low, p99=high, max_change=max_change * ones
    )
