"""The judge of scenes: one whose pictures tell the pose gets the scores that follow from the poses."""

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
"""Grey values between the recorded images and what their tokens decode to."""


class Grey:
    """A tokenizer whose tokens are grey values."""

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens[:, :1, :1, :1, None].to(torch.uint8).expand(-1, 17, 4, 4, 3)


class Recording:
    """Episode e stands at x = 20 e, and clip c of it at c more; tokens are as grey as x is."""

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
    """Any scene draws grey values that are x."""

    def draw(model: object, clips: PosedClips, tokenizer: Grey) -> Rendering:
        frames = tokenizer.decode(clips.poses[:, :1, :1, None].expand(-1, 3, -1, -1))
        return Rendering(clips.poses[:, 0, 1] + 1.5, frames)

    monkeypatch.setattr(scene_scores, "render_clips", draw)
    monkeypatch.setattr(scene_scores, "BATCH", 5)


def score(difference: float) -> float:
    return 20 * math.log10(255 / difference)


def test_a_scene_that_draws_the_truth() -> None:
    windows = [(e, c) for e in range(EPISODES) for c in range(CLIPS)]
    told = measure_scene(make_scene().model, Grey(), Recording(), windows, seed=1)  # type: ignore[arg-type]
    assert (told.psnr, told.loss, told.clips) == (100.0, 1.5, EPISODES * CLIPS)
    assert told.psnr_images == pytest.approx(score(RECORDED_OFFSET))
    # In a cycle of three, two are moved by one episode's distance and one by two.
    assert told.psnr_shuffled_poses == pytest.approx((2 * score(20) + score(40)) / 3, abs=1e-4)
    assert told.psnr_images_shuffled_poses < told.psnr_images - 10


def test_in_training_the_poses_of_the_clip_before_are_the_wrong_ones() -> None:
    recording = Recording()
    poses = recording.frame_poses()[0][:, :3]
    clips = PosedClips(recording.tokens[0], poses, torch.zeros(CLIPS, 3, 25))
    told = judge_scene(SimpleNamespace(), clips, Grey())  # type: ignore[arg-type]
    assert (told.loss, told.psnr) == (1.5, 100.0)
    assert told.psnr_shuffled_poses == pytest.approx((3 * score(1) + score(3)) / 4, abs=1e-4)
