"""The cases of `measure_sabotage`, with a tiny untrained scene whose frames depend on the pose."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hwm_env.evaluation.image_metrics import psnr_db
from hwm_env.evaluation.worlds.closed_loops import run_closed_loops
from hwm_env.evaluation.worlds.sabotage import STEPS, Sabotaged, measure_sabotage
from hwm_env.simulator import WorldSimulator
from hwm_env.types import HISTORY_CLIPS
from tests.conftest import NUM_STARTS
from tests.scene.scenes import make_checkpoint, make_scene

pytestmark = pytest.mark.slow

CLIPS = HISTORY_CLIPS + STEPS


class Episodes:
    """Held-out episodes of random clips, with robots that stand still at known places."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(64_000, (NUM_STARTS, CLIPS, 3, 8, 8), generator=generator).int()
        self.actions = 0.1 * torch.rand(NUM_STARTS, CLIPS, 17, 25, generator=generator)
        self._frames = torch.randint(256, (NUM_STARTS, CLIPS, 17, 64, 64, 3), generator=generator, dtype=torch.uint8)
        self._poses = 2 * torch.rand(NUM_STARTS, 1, 3, generator=generator).expand(-1, CLIPS, -1) - 1

    def __len__(self) -> int:
        return NUM_STARTS

    def poses(self) -> Tensor:
        return self._poses

    def frames(self, episode: int) -> Tensor:
        return self._frames[episode]


@pytest.fixture(scope="module")
def simulator() -> WorldSimulator:
    return WorldSimulator(make_checkpoint(make_scene(history_weights=(0.0,))))


@pytest.fixture(scope="module")
def found(simulator: WorldSimulator) -> dict[str, Sabotaged]:
    return measure_sabotage(simulator, Episodes(), loops=NUM_STARTS, seed=0)  # type: ignore[arg-type]


def test_poses_that_are_given_are_off_by_as_much_as_they_were_moved(found: dict[str, Sabotaged]) -> None:
    assert found["pose_half_a_metre_wrong"].start_error_median_m == pytest.approx(0.5, abs=1e-5)
    places = Episodes().poses()[:, 0, :2]
    distances = torch.cdist(places, places)
    shuffled = found["poses_shuffled"].start_error_median_m
    assert shuffled is not None
    assert distances[distances > 0].min() <= shuffled <= distances.max()


def test_a_place_outside_the_map_is_unknown_and_played_without_a_scene(found: dict[str, Sabotaged]) -> None:
    outside = found["outside_the_room"]
    assert outside.unknown_share == 1
    assert outside.start_error_median_m is None
    assert outside.psnr == found["scene_off"].psnr


def test_without_the_scene_loops_are_those_of_the_masked_model(
    simulator: WorldSimulator, found: dict[str, Sabotaged]
) -> None:
    alone = WorldSimulator(replace(simulator.checkpoint, scene=None))
    episodes = Episodes()
    tokens = run_closed_loops(alone, episodes, STEPS, seed=0).tokens  # type: ignore[arg-type]
    frames = alone.tokenizer.decode(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
    truth = torch.stack([episodes.frames(episode)[HISTORY_CLIPS:] for episode in range(NUM_STARTS)])
    expected = psnr_db(frames.flatten(0, 1), truth.flatten(0, 1)).view(NUM_STARTS, STEPS).mean(0)
    torch.testing.assert_close(torch.tensor(found["scene_off"].psnr), expected, atol=1e-3, rtol=0)


def test_every_case_changes_what_is_painted(found: dict[str, Sabotaged]) -> None:
    for name in ("pose_half_a_metre_wrong", "poses_shuffled", "numbers_zeroed", "another_map", "scene_off"):
        assert found[name].psnr != found["nothing"].psnr, name
