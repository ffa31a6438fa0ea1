"""Scores of a scene whose frames show the pose, which follow from the poses."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from hwm_env.evaluation.worlds import scene_scores
from hwm_env.evaluation.worlds.scene_scores import judge_scene, measure_scene
from hwm_env.scene.rendering import PosedClips, Rendering
from tests.scene.scenes import make_scene

EPISODES, CLIPS = 3, 4
RECORDED_OFFSET = 2
"""Difference of grey values between the recorded images and the decoded tokens."""


class Grey:
    """A tokenizer whose tokens are grey values."""

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens[:, :1, :1, :1, None].to(torch.uint8).expand(-1, 17, 4, 4, 3)


class Recording:
    """Episodes whose clip c is at x = 20 e + c in episode e; the grey value of tokens is x."""

    def __init__(self) -> None:
        self.x = 20.0 * torch.arange(EPISODES)[:, None] + torch.arange(CLIPS)
        self.tokens = self.x[:, :, None, None, None].expand(-1, -1, 3, 8, 8).int()
        self.actions = torch.zeros(EPISODES, CLIPS, 17, 25)

    def __len__(self) -> int:
        return EPISODES

    def frame_poses(self) -> Tensor:
        return torch.stack([self.x, 0 * self.x, 0 * self.x], dim=-1)[:, :, None].expand(-1, -1, 17, -1)

    def frames(self, episode: int) -> Tensor:
        return Grey().decode(self.tokens[episode]) + RECORDED_OFFSET


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes all scenes draw the grey value x."""

    def draw(model: object, clips: PosedClips, tokenizer: Grey) -> Rendering:
        frames = tokenizer.decode(clips.poses[:, :1, :1, None].expand(-1, 3, -1, -1))
        return Rendering(clips.poses[:, 0, 1] + 1.5, frames)

    monkeypatch.setattr(scene_scores, "render_clips", draw)
    monkeypatch.setattr(scene_scores, "BATCH", 5)


def score(difference: float) -> float:
    return 20 * math.log10(255 / difference)


def test_a_scene_that_draws_the_truth() -> None:
    windows = [(e, c) for e in range(EPISODES) for c in range(CLIPS)]
    result = measure_scene(make_scene().model, Grey(), Recording(), windows, seed=1)  # type: ignore[arg-type]
    assert (result.psnr, result.loss, result.clips) == (100.0, 1.5, EPISODES * CLIPS)
    assert result.psnr_images == pytest.approx(score(RECORDED_OFFSET))
    # In a cycle of three, two clips are moved by one episode's distance and one by two.
    assert result.psnr_shuffled_poses == pytest.approx((2 * score(20) + score(40)) / 3, abs=1e-4)
    assert result.psnr_images_shuffled_poses < result.psnr_images - 10


def test_in_training_the_poses_of_the_clip_before_are_the_wrong_ones() -> None:
    recording = Recording()
    poses = recording.frame_poses()[0][:, :3]
    clips = PosedClips(recording.tokens[0], poses, torch.zeros(CLIPS, 3, 25))
    result = judge_scene(SimpleNamespace(), clips, Grey())  # type: ignore[arg-type]
    assert (result.loss, result.psnr) == (1.5, 100.0)
    assert result.psnr_shuffled_poses == pytest.approx((3 * score(1) + score(3)) / 4, abs=1e-4)
