"""Candidate poses: the median of read-outs, and a coarse search of the whole room."""

import math

import pytest
import torch

from hwm_env.scene.localiser import LocaliserConfig, localise
from hwm_env.scene.pose import integrate_wheels
from hwm_env.scene.pose_candidates import SCATTER_STD, SCATTERED, coarse_search, from_clip_poses, scattered
from hwm_env.scene.scene import Scene, SceneUse
from tests.scene.waves import (
    Waves,
    as_scene,
    drive,
    errors,
    free_within,
)


@pytest.mark.parametrize("heading", [0.0, math.pi - 0.02, -math.pi + 0.01, 2.0])
def test_the_median_of_the_clips_ignores_an_outlier(heading: float) -> None:
    generator = torch.Generator().manual_seed(0)
    histories = drive(Waves(), 1, clips=9, starts=torch.tensor([[1.0, -2.0, 0.0]]))
    turn = heading - histories.ends[0, 2]
    turned = drive(Waves(), 1, clips=9, starts=torch.tensor([[1.0, -2.0, turn]]))
    poses = integrate_wheels(torch.tensor([[1.0, -2.0, turn]]), turned.actions.flatten(1, 2))
    estimates = poses[:, 16::17] + 0.05 * torch.randn(1, 9, 3, generator=generator)
    estimates[..., 2] = torch.atan2(estimates[..., 2].sin(), estimates[..., 2].cos())
    estimates[0, 3] = torch.tensor([4.0, 4.0, heading + math.pi])
    candidates = from_clip_poses(estimates, turned.actions)
    assert candidates.shape == (1, 10, 3)
    error = errors(candidates[0], turned.ends.expand(10, 3))
    # An error of the yaw moves the end: 9 clips are two or three metres long.
    assert error[0, :2].norm() < 0.15
    assert error[0, 2].abs() < 0.1
    assert error[1 + 3, :2].norm() > 1
    assert error[0, 2].item() == pytest.approx(error[1:, 2].median().item(), abs=1e-5)
    torch.testing.assert_close(candidates[0, -1], estimates[0, -1])


def test_a_coarse_search_finds_the_pose_without_a_read_out() -> None:
    waves = Waves()
    starts = torch.tensor([[0.3, -0.2, 2.0], [-0.8, 0.1, -1.0], [0.0, 0.8, 0.5]])
    histories = drive(waves, 3, starts=starts)
    scene = Scene(as_scene(waves), free_within(1.8), SceneUse())
    candidates = coarse_search(scene, histories.tokens, histories.actions, count=3)
    assert candidates.shape == (3, 3, 3)
    error = errors(candidates.flatten(0, 1), starts.repeat_interleave(3, dim=0)).unflatten(0, (3, 3))
    assert error[..., :2].norm(dim=-1).min(dim=1).values.max() < 0.6
    found = localise(
        as_scene(waves),
        scene.odometry,
        histories.tokens,
        histories.actions,
        candidates,
        LocaliserConfig(refined=3, coarse_steps=8, fine_steps=2),
        from_starts=True,
    )
    assert errors(found.poses, histories.ends)[:, :2].norm(dim=1).max() < 0.15


def test_a_coarse_search_covers_the_free_floor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = drive(Waves(), 1)
    scene = Scene(as_scene(Waves()), free_within(1.8), SceneUse())
    monkeypatch.setattr(scene.odometry, "free_logit", lambda xy_m: xy_m[..., 1] - 0.5)
    assert (coarse_search(scene, histories.tokens, histories.actions, count=8)[..., 1] > 0.5).all()
    # If nothing is free, the floor plan is wrong.
    monkeypatch.setattr(scene.odometry, "free_logit", lambda xy_m: -torch.ones(xy_m.shape[:-1]))
    assert coarse_search(scene, histories.tokens, histories.actions).isfinite().all()


def test_estimates_are_carried_back_to_the_start() -> None:
    starts = torch.tensor([[1.0, -2.0, 0.4], [0.0, 0.5, -2.0]])
    histories = drive(Waves(), 2, starts=starts)
    estimates = integrate_wheels(starts, histories.actions.flatten(1, 2))[:, 16::17]
    candidates = from_clip_poses(estimates, histories.actions, at_start=True)
    assert errors(candidates.flatten(0, 1), starts.repeat_interleave(candidates.shape[1], dim=0)).abs().max() < 1e-4


def test_candidates_are_scattered_around_the_first_ones() -> None:
    candidates = torch.tensor([[[1.0, 2.0, 0.5], [-1.0, 0.0, -1.0], [9.0, 9.0, 0.0]]])
    around = scattered(candidates, centres=2)
    assert torch.equal(around[:, :3], candidates)
    assert torch.equal(around, scattered(candidates, centres=2))
    for centre, part in zip(candidates[0, :2], around[0, 3:].split(SCATTERED // 2), strict=True):
        torch.testing.assert_close(part.mean(dim=0), centre, atol=0.03, rtol=0)
        torch.testing.assert_close(part.std(dim=0), torch.tensor(SCATTER_STD), atol=0, rtol=0.1)
