import math
from typing import cast

import pytest
import torch
from torch import Tensor

from hwm_env.evaluation.worlds import pose_sources
from hwm_env.evaluation.worlds.pose_sources import compare_sources, filter_poses
from hwm_env.model.readout import Readout

LOOPS, CLIPS = 400, 6


def loops(offset_std: float, noise_std: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Makes true poses, carried poses with an offset for each loop, and readings with an error for each clip."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.tensor([3.0, 3.0, math.pi]) * (2 * torch.rand(LOOPS, CLIPS, 3, generator=generator) - 1)
    carried = truth + offset_std * torch.randn(LOOPS, 1, 3, generator=generator)
    read = truth + noise_std * torch.randn(LOOPS, CLIPS, 3, generator=generator)
    return truth, carried, read


def test_a_filter_is_the_posterior_mean_of_a_gaussian() -> None:
    truth, carried, read = loops(0.1, 0.2)
    prior, noise = 0.1**2, 0.2**2
    filtered = filter_poses(carried, read, torch.full((3,), prior), torch.full((3,), noise))
    for clips in (1, 4):
        # Bayes' rule for a number that is measured `clips` times, written out for one loop.
        innovations = (read - carried)[7, :clips]
        innovations[:, 2] = torch.atan2(innovations[:, 2].sin(), innovations[:, 2].cos())
        precision = 1 / prior + clips / noise
        expected = carried[7, clips - 1] + innovations.sum(dim=0) / noise / precision
        torch.testing.assert_close(filtered[7, clips - 1], expected)
    better = (filtered - truth)[:, -1, :2].square().mean()
    assert better < 0.6 * (carried - truth)[:, -1, :2].square().mean()
    assert better < 0.3 * (read - truth)[:, -1, :2].square().mean()


def test_the_shorter_way_round() -> None:
    carried, read = torch.tensor([[[0.0, 0.0, 3.1]]]), torch.tensor([[[0.0, 0.0, -3.1]]])
    filtered = filter_poses(carried, read, torch.ones(3), torch.ones(3))
    assert filtered[0, 0, 2].item() == pytest.approx(3.1 + (2 * math.pi - 6.2) / 2, abs=1e-5)


@pytest.mark.parametrize(("offset_std", "noise_std", "best"), [(0.2, 0.1, "readout"), (0.01, 0.3, "carried")])
def test_sources_are_compared_with_the_truth(
    monkeypatch: pytest.MonkeyPatch, offset_std: float, noise_std: float, best: str
) -> None:
    truth, carried, read = loops(offset_std, noise_std)
    # The read-out reads the poses from the tokens.
    monkeypatch.setattr(pose_sources, "read_clips", lambda readout, clips: clips)
    found = compare_sources(cast(Readout, None), read, carried, truth, [1, CLIPS, 20])
    assert list(found) == ["1", str(CLIPS)]
    last = {name: error.position_m.median for name, error in found[str(CLIPS)].items() if error.position_m}
    # The median length of a 2D Gaussian is 1.177 deviations.
    assert last["carried"] == pytest.approx(1.177 * offset_std, rel=0.2)
    assert last["readout"] == pytest.approx(1.177 * noise_std, rel=0.2)
    assert last["filter"] < 1.05 * last[best]
    assert found["1"]["carried"].count == LOOPS // 2
