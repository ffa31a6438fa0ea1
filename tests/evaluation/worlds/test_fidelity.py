"""Fidelity of simulators whose scores are known."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.checkpoint import load
from hwm_env.cli import main
from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.evaluation.frechet import frechet_distance
from hwm_env.evaluation.lpips import LPIPS, weight_shapes
from hwm_env.evaluation.reports.film_strip import closed_loop_strips
from hwm_env.evaluation.video_features import VideoFeatures
from hwm_env.evaluation.worlds.fidelity import MOVING_BELOW_DB, measure
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.reference.collect import collect
from hwm_env.reference.rendering import can_render
from hwm_env.simulator import Clip, WorldSimulator, WorldState
from hwm_env.types import HISTORY_CLIPS
from tests.evaluation.detectors import Grid, grid_features, saved
from tests.scene.scenes import make_scene

EPISODES, CLIPS, SIZE = 3, 12, 64


class Lookup:
    """A tokenizer of a world of two colours, whose tokens are the brightness of the first frame."""

    fsq_levels = (8, 8, 8, 5, 5, 5)
    codebook_size = 64_000
    identity = token_identity = "lookup"
    spatial_compression = 8

    def encode(self, clips: Tensor) -> Tensor:
        brightness = clips[:, :1, :1, :1, :1].int().view(-1, 1, 1, 1)
        return brightness.expand(-1, 3, 8, 8)

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens[:, :1, :1, :1, None].to(torch.uint8).expand(-1, 17, SIZE, SIZE, 3)


@pytest.fixture
def held_out(tmp_path: Path) -> HeldOut:
    """In each clip all pixels are 4 x the clip's action; clips of even episodes do not change."""
    writer = DatasetWriter(tmp_path, image_size=(SIZE, SIZE))
    by_clip = np.stack([np.full(CLIPS, 10) if e % 2 == 0 else np.arange(CLIPS) * 5 % 40 for e in range(EPISODES)])
    by_frame = by_clip.repeat(17, axis=1)
    writer.write_shard(
        0,
        states=by_frame.reshape(-1, 1).repeat(25, axis=1).astype(np.float32),
        segments=np.arange(EPISODES, dtype=np.int32).repeat(CLIPS * 17),
        frames=np.broadcast_to((4 * by_frame).reshape(-1, 1, 1, 1), (EPISODES * CLIPS * 17, SIZE, SIZE, 3)).astype(
            np.uint8
        ),
    )
    writer.finish()
    return HeldOut(tmp_path, Lookup(), clips_per_episode=CLIPS, num_episodes=EPISODES)


@pytest.fixture
def simulator(tiny_checkpoint: Path) -> WorldSimulator:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    simulator.tokenizer = Lookup()
    return simulator


def obeys(state: WorldState, actions: Tensor) -> tuple[WorldState, Clip]:
    """A perfect world: brightness is 4 x the action."""
    tokens = (4 * actions[:, :1, :1, None]).int().expand(-1, 3, 8, 8)
    return state, Clip(tokens, torch.zeros(tokens.shape), torch.zeros(tokens.shape), Lookup())


def ignores(state: WorldState, actions: Tensor) -> tuple[WorldState, Clip]:
    """A world that repeats its last clip, whatever the actions."""
    last = state.tokens[:, -1]
    return state, Clip(last, torch.zeros(last.shape), torch.zeros(last.shape), Lookup())


def test_a_perfect_world_reaches_the_ceiling_and_falls_with_shuffled_actions(
    simulator: WorldSimulator, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "step", obeys)
    report = measure(simulator, held_out, closed_loop_steps=3)
    assert report.next_clip.psnr_true_actions == report.next_clip.psnr_tokenizer_ceiling == 100.0
    assert report.next_clip.psnr_shuffled_actions < 90
    assert report.closed_loop.psnr == [100.0] * 3
    assert report.next_clip.starts == EPISODES * 3
    assert report.closed_loop.starts == EPISODES


def test_a_world_that_ignores_actions_scores_like_repeating(
    simulator: WorldSimulator, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "step", ignores)
    report = measure(simulator, held_out, closed_loop_steps=3)
    scores = report.next_clip
    assert scores.psnr_true_actions == scores.psnr_shuffled_actions == scores.psnr_repeat_last_frame
    assert report.closed_loop.psnr == report.closed_loop.psnr_repeat_last_frame


def test_repeat_last_has_its_closed_form(
    simulator: WorldSimulator, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only moving episode steps by 20 grey values, or falls from 140 to 0; the others score 100."""
    monkeypatch.setattr(simulator, "step", obeys)
    report = measure(simulator, held_out, closed_loop_steps=3)
    brightness = [4 * (clip * 5 % 40) for clip in range(CLIPS)]

    def score(a: int, b: int) -> float:
        return 20 * np.log10(255 / abs(a - b))

    one_step = [score(brightness[c], brightness[c - 1]) for c in range(9, 12)]
    assert report.next_clip.psnr_repeat_last_frame == pytest.approx((sum(one_step) + 6 * 100) / 9, abs=1e-4)
    from_start = [(score(brightness[c], brightness[8]) + 200) / 3 for c in range(9, 12)]
    assert report.closed_loop.psnr_repeat_last_frame == pytest.approx(from_start, abs=1e-4)
    gains = np.array(report.closed_loop.psnr) - report.closed_loop.psnr_repeat_last_frame
    assert np.mean(report.closed_loop.gain_by_start) == pytest.approx(gains.mean(), abs=1e-4)
    assert len(report.closed_loop.gain_by_start) == 3
    assert report.moving is None or report.moving.psnr_repeat_last_frame < MOVING_BELOW_DB


def test_the_report_has_the_promised_keys(
    simulator: WorldSimulator, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "step", obeys)
    content = measure(simulator, held_out, closed_loop_steps=2).to_dict()
    keys = {
        "psnr_true_actions",
        "psnr_shuffled_actions",
        "psnr_repeat_last_frame",
        "psnr_tokenizer_ceiling",
        "starts",
        "moving",
    }
    assert content["next_clip"].keys() == keys
    assert {"psnr", "psnr_repeat_last_frame", "starts"} <= content["closed_loop"].keys()
    of_scenes = ("scene", "localisation", "carried_pose", "painted_pose", "away_and_back", "long_loop")
    assert [content[name] for name in of_scenes] == [None] * len(of_scenes)


@pytest.mark.slow
@pytest.mark.skipif(not can_render(), reason="MuJoCo cannot make an OpenGL context on this machine")
def test_a_world_with_a_scene_is_judged_by_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    collect(tmp_path, num_episodes=2, seed=0, split="held-out", clips_per_episode=CLIPS, workers=1)
    simulator = WorldSimulator(replace(load(tiny_checkpoint), scene=make_scene()))
    recording = HeldOut(tmp_path, simulator.tokenizer, clips_per_episode=CLIPS, num_episodes=2)
    content = measure(simulator, recording, closed_loop_steps=3, long_episodes=lambda: recording).to_dict()
    assert content["scene"]["clips"] == 2 * 3
    assert content["localisation"]["error"]["count"] == 2
    assert content["localisation"]["seconds_a_reset"] > 0
    assert content["carried_pose"].keys() == {"1"}
    assert content["painted_pose"] == {}
    assert content["away_and_back"]["starts"] == 2
    assert content["long_loop"]["psnr"].keys() == content["long_loop"]["carried_pose"].keys() == {"1"}
    assert content["long_loop"]["psnr"]["1"] == pytest.approx(content["closed_loop"]["psnr"][0], abs=0.1)
    assert content["closed_loop"]["starts"] == 2


def test_too_short_episodes_are_refused(simulator: WorldSimulator, held_out: HeldOut, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="at least 2 episodes of 13 clips"):
        measure(simulator, held_out, closed_loop_steps=4)
    with pytest.raises(DatasetError, match="holds 3 stretches of 12 clips; expected 4"):
        HeldOut(tmp_path, Lookup(), clips_per_episode=CLIPS, num_episodes=4)


def test_the_film_strip_shows_truth_above_prediction(
    simulator: WorldSimulator, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    imageio = pytest.importorskip("imageio.v3")
    monkeypatch.setattr(simulator, "step", ignores)
    closed_loop_strips(simulator, held_out, 2, tmp_path / "strip.png", scores=[1.0, 2.0, 3.0], seed=0)
    picture = imageio.imread(tmp_path / "strip.png")
    side = 2 * SIZE  # drawn at twice the size
    assert picture.shape == (2 * (3 * 2 * SIZE + 2 * 4), 3 * side, 3)
    truth_row, model_row = 2 * side + 8, 3 * side + 8  # of episode 1, the moving one, second best
    assert picture[truth_row, 1 * side, 0] == 4 * (9 * 5 % 40)
    assert picture[model_row, 1 * side, 0] == 4 * (8 * 5 % 40)


@pytest.mark.slow
def test_video_metrics_of_a_perfect_world_and_their_baselines(
    simulator: WorldSimulator, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All frames are flat, so that SSIM has a closed form; FVD is computed from the grey values of all clips."""
    pytest.importorskip("torchmetrics")
    monkeypatch.setattr(simulator, "step", obeys)
    random = torch.Generator().manual_seed(0)
    weights = {name: 0.1 * torch.rand(shape, generator=random) for name, shape in weight_shapes().items()}
    detector = VideoFeatures.load(saved(Grid(), tmp_path / "grid.pt"))
    report = measure(simulator, held_out, closed_loop_steps=3, lpips=LPIPS(weights), detector=detector)
    metrics = report.video_metrics
    assert metrics is not None
    assert metrics.lpips is not None
    assert metrics.fvd is not None
    assert metrics.ssim.model == metrics.ssim.tokenizer_ceiling == pytest.approx([1.0] * 3, abs=3e-3)
    grey = [4 * (clip * 5 % 40) / 255 for clip in range(CLIPS)]
    of_moving = [(2 * grey[c] * grey[8] + 1e-4) / (grey[c] ** 2 + grey[8] ** 2 + 1e-4) for c in range(9, 12)]
    assert metrics.ssim.repeat_last_frame == pytest.approx([(2 + one) / 3 for one in of_moving], abs=3e-3)

    assert metrics.lpips.model == metrics.lpips.tokenizer_ceiling == pytest.approx([0.0] * 3, abs=1e-6)
    truth, repeated = held_out.frames(1)[9:], held_out.frames(1)[8, -1].expand(3, 17, -1, -1, -1)
    distances = [LPIPS(weights)(one, other).mean() / EPISODES for one, other in zip(repeated, truth, strict=True)]
    assert metrics.lpips.repeat_last_frame == pytest.approx([float(one) for one in distances], rel=1e-4)

    assert metrics.fvd.clips == EPISODES
    assert list(metrics.fvd.by_step) == ["1"]
    truth, repeated = (
        torch.stack([held_out.frames(e)[clip] for e in range(EPISODES)]) for clip in (HISTORY_CLIPS, HISTORY_CLIPS - 1)
    )
    expected = frechet_distance(grid_features(repeated), grid_features(truth))
    assert expected > 0.01
    for distances in (metrics.fvd.by_step["1"], metrics.fvd.all_steps):
        assert distances["repeat_last_frame"] == pytest.approx(expected, rel=1e-5)
        assert distances["model"] == pytest.approx(0.0, abs=1e-6)
        assert distances["tokenizer_ceiling"] == pytest.approx(0.0, abs=1e-6)


def test_without_torchmetrics_only_the_video_metrics_are_left_out(
    simulator: WorldSimulator, held_out: HeldOut, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(simulator, "step", obeys)
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    report = measure(simulator, held_out, closed_loop_steps=2)
    assert report.video_metrics is None
    assert report.closed_loop.psnr == [100.0] * 2
    assert "video metrics are not measured" in caplog.text


@pytest.mark.parametrize("option", ["--lpips", "--fvd"])
def test_networks_that_are_not_there_are_found_before_the_work(
    tiny_checkpoint: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["fidelity", "--checkpoint", tiny_checkpoint, "--recording", tmp_path, option, tmp_path / "nowhere"]
    assert main([str(argument) for argument in argv]) == 2
    assert "nowhere, found nothing; give" in capsys.readouterr().err
