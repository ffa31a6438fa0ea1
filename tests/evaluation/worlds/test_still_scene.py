"""Still scenes in worlds whose changes are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.data.writer import DatasetWriter
from hwm_env.errors import DatasetError
from hwm_env.evaluation.worlds.held_out import HeldOut
from hwm_env.evaluation.worlds.still_scene import CLIPS, measure_still_scene
from hwm_env.reference.collect import collect
from hwm_env.simulator import Clip, WorldSimulator, WorldState
from hwm_env.types import ANGULAR_VELOCITY, LINEAR_VELOCITY

SIZE = 64
GREY = 100
EPISODE_CLIPS = 11


class Ramp:
    """A tokenizer of flat clips: a token is the grey value of the first frame, and each next frame is lighter by 1."""

    fsq_levels = (8, 8, 8, 5, 5, 5)
    codebook_size = 64_000
    identity = token_identity = "ramp"
    spatial_compression = 8

    def encode(self, clips: Tensor) -> Tensor:
        return clips[:, :1, :1, :1, :1].int().view(-1, 1, 1, 1).expand(-1, 3, 8, 8)

    def decode(self, tokens: Tensor) -> Tensor:
        greys = tokens[:, 0, 0, 0, None] + torch.arange(17)
        return greys.view(-1, 17, 1, 1, 1).to(torch.uint8).expand(-1, 17, SIZE, SIZE, 3)


def record(directory: Path, speeds: list[list[float]]) -> HeldOut:
    """Records grey episodes in which the robot has a speed in each clip; its neck has the index of the clip."""
    writer = DatasetWriter(directory, image_size=(SIZE, SIZE))
    states = np.zeros((len(speeds), EPISODE_CLIPS, 17, 25), np.float32)
    states[..., 0] = np.arange(EPISODE_CLIPS)[:, None]
    states[..., LINEAR_VELOCITY] = np.array(speeds)[:, :, None]
    count = len(speeds) * EPISODE_CLIPS * 17
    writer.write_shard(
        0,
        states=states.reshape(count, 25),
        segments=np.arange(len(speeds), dtype=np.int32).repeat(EPISODE_CLIPS * 17),
        frames=np.full((count, SIZE, SIZE, 3), GREY, np.uint8),
    )
    writer.finish()
    return HeldOut(directory, Ramp(), clips_per_episode=EPISODE_CLIPS, num_episodes=len(speeds))


@pytest.fixture
def simulator(tiny_checkpoint: Path) -> WorldSimulator:
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    simulator.tokenizer = Ramp()
    return simulator


def psnr(difference: float) -> float:
    return 20 * np.log10(255 / difference)


def test_a_world_that_drifts_has_its_closed_form(
    simulator: WorldSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each predicted clip begins two grey values above the beginning of the one before."""
    taken: list[Tensor] = []

    def step(state: WorldState, actions: Tensor) -> tuple[WorldState, Clip]:
        taken.append(actions)
        tokens = torch.full((len(actions), 3, 8, 8), GREY + 2 * len(taken), dtype=torch.int32)
        return state, Clip(tokens, torch.zeros(tokens.shape), torch.zeros(tokens.shape), Ramp())

    monkeypatch.setattr(simulator, "step", step)
    moving, resting = [1.0] * EPISODE_CLIPS, [0.0] * EPISODE_CLIPS
    late = [1.0] * 9 + [0.04, 1.0]
    report = measure_still_scene(simulator, record(tmp_path, [moving, resting, late]), starts=5, seed=0)
    assert report.starts == 2
    assert report.truth is None
    assert report.tokenizer_ceiling is None
    assert report.model.psnr_to_first == pytest.approx([psnr(2 * clip) for clip in range(1, CLIPS)], abs=1e-4)
    last_frames = [2 * clip + 16 for clip in range(1, CLIPS + 1)]
    assert report.model.psnr_before == pytest.approx([psnr(above) for above in last_frames], abs=1e-4)
    first_of_next = 16 - 2
    assert report.model.change == pytest.approx([1.0] + [(16 + first_of_next) / 17] * (CLIPS - 1))

    assert len(taken) == CLIPS
    for actions in taken:
        assert actions[..., 0].tolist() == [[8.0] * 17, [9.0] * 17]
        assert not actions[..., [LINEAR_VELOCITY, ANGULAR_VELOCITY]].any()


def test_robots_that_never_rest_are_refused(simulator: WorldSimulator, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="in none of 2 episodes does the robot rest after nine clips"):
        measure_still_scene(simulator, record(tmp_path, [[1.0] * EPISODE_CLIPS] * 2), starts=5, seed=0)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_rendering")
def test_the_reference_world_is_still(tiny_checkpoint: Path, tmp_path: Path) -> None:
    collect(tmp_path, num_episodes=6, seed=0, split="held-out", clips_per_episode=EPISODE_CLIPS, workers=1)
    simulator = WorldSimulator.from_pretrained(tiny_checkpoint)
    held_out = HeldOut(tmp_path, simulator.tokenizer, clips_per_episode=EPISODE_CLIPS, num_episodes=6)
    report = measure_still_scene(simulator, held_out, starts=1, seed=0)
    assert report.truth is not None
    assert report.tokenizer_ceiling is not None
    assert report.starts == 1
    assert report.truth.psnr_to_first == [100.0] * (CLIPS - 1)
    assert report.truth.change == [0.0] * CLIPS
    assert min(report.truth.psnr_before) > 25
    assert report.tokenizer_ceiling.psnr_to_first == [100.0] * (CLIPS - 1)
    assert max(report.tokenizer_ceiling.psnr_before) < min(report.truth.psnr_before)
    assert max(report.model.psnr_to_first) < 100
