"""Long loops of worlds whose scores are known."""

import math

import pytest
import torch
from torch import Tensor

from hwm_env.evaluation.worlds import long_loop
from hwm_env.evaluation.worlds.closed_loops import Loops
from hwm_env.evaluation.worlds.long_loop import measure_long_loop
from hwm_env.types import HISTORY_CLIPS

STEPS = 7


class Grey:
    """A tokenizer and simulator whose tokens are grey values."""

    device = "cpu"

    def __init__(self) -> None:
        self.tokenizer = self
        self.decoded = 0

    def decode(self, tokens: Tensor) -> Tensor:
        self.decoded += len(tokens)
        return tokens[:, :1, :1, :1, None].to(torch.uint8).expand(-1, 17, 4, 4, 3)


class Brightening:
    """Two episodes in which the grey value of clip c is 10 c and the base moves by 1 m per clip."""

    num_clips = HISTORY_CLIPS + STEPS
    tokens = 10 * torch.arange(num_clips)[None, :, None, None, None].expand(2, -1, 3, 8, 8)

    def __len__(self) -> int:
        return 2

    def frames(self, episode: int) -> Tensor:
        return Grey().decode(self.tokens[episode])

    def poses(self) -> Tensor:
        x = torch.arange(float(self.num_clips)).expand(2, -1)
        return torch.stack([x, 0 * x, 0 * x], dim=-1)


def score(difference: float) -> float:
    return 20 * math.log10(255 / difference)


def test_each_step_is_compared_with_its_own_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first world is exact; the second one is too bright by 2, and at step 5 by 40."""
    held_out, simulator = Brightening(), Grey()
    tokens = held_out.tokens[:, HISTORY_CLIPS:].clone()
    tokens[1] += 2
    tokens[1, 4] += 38
    poses = held_out.poses()[:, HISTORY_CLIPS - 1 :].clone()
    poses[1, 5, 1] += 0.5
    monkeypatch.setattr(long_loop, "run_closed_loops", lambda *args: Loops(tokens, poses))
    result = measure_long_loop(simulator, held_out)  # type: ignore[arg-type]
    assert result.starts == 2
    assert result.psnr == pytest.approx({"1": (100 + score(2)) / 2, "5": (100 + score(40)) / 2}, abs=1e-4)
    assert result.psnr_worst == pytest.approx({"1": score(2), "5": score(40)}, abs=1e-4)
    assert result.psnr_repeat_last_frame == pytest.approx({"1": score(10), "5": score(50)}, abs=1e-4)
    assert result.psnr_tokenizer_ceiling == {"1": 100.0, "5": 100.0}
    assert result.carried_pose is not None
    worst = {step: error.position_m.worst for step, error in result.carried_pose.items() if error.position_m}
    assert worst == {"1": 0.0, "5": 0.5}
    assert simulator.decoded == 2 * 2 * 2  # two worlds, two steps, predicted and recorded


def test_worlds_without_a_scene_carry_no_pose(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = Brightening()
    monkeypatch.setattr(long_loop, "run_closed_loops", lambda *args: Loops(held_out.tokens[:, HISTORY_CLIPS:], None))
    result = measure_long_loop(Grey(), held_out)  # type: ignore[arg-type]
    assert result.carried_pose is None
    assert set(result.psnr.values()) == {100.0}
