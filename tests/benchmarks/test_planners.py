"""Measures how many clips a second a planner predicts with room-64, without frames or tokens: `make bench`."""

import time
from typing import Any

import numpy as np
import pytest

from hwm_env.envs.config import EnvConfig
from hwm_env.envs.learned import LearnedWorld
from hwm_env.envs.pose_world import PoseWorld
from hwm_env.tasks.face_target import FaceTargetGoal
from policies.planners.imagination import Caution, Imagination
from policies.planners.knots import DRIVING, Knots
from tests.benchmarks.timing import NEEDS_BFLOAT16

pytestmark = pytest.mark.benchmark

HORIZON = 4


@pytest.mark.parametrize(
    "config",
    [
        EnvConfig(),
        pytest.param(EnvConfig(precision="bfloat16"), marks=NEEDS_BFLOAT16),
        EnvConfig(decoding_steps=0),
    ],
    ids=["float32", "bfloat16", "without decoding steps"],
)
def test_candidates_a_second(config: EnvConfig, request: pytest.FixtureRequest) -> None:
    """Compares batches with one candidate at a time, in the same run."""
    rates = clips_a_second(LearnedWorld(config.make_simulator()))
    print(f"\n{request.node.callspec.id}: {described(rates)}")
    assert rates[64] > rates[1]


def test_poses_a_second() -> None:
    """The same in a world without pictures."""
    rates = clips_a_second(PoseWorld(EnvConfig().make_simulator()))
    print(f"\nposes alone: {described(rates)}")
    assert rates[64] > rates[1]


def clips_a_second(world: LearnedWorld | PoseWorld) -> dict[int, float]:
    """Returns the clips that planning predicts a second, by the number of candidates at once."""
    moment: Any
    (moment,) = world.begin([world.start(0)], [0])
    statistics = world.checkpoint.statistics
    knots = Knots(DRIVING, HORIZON, 2, statistics.low, statistics.high, statistics.max_change)
    rates = {}
    for batch in (1, 64, 256):
        # A goal that is never reached, so that all plans live to the end.
        imagination: Imagination[Any] = Imagination(
            world, moment, FaceTargetGoal(landmark="", x_m=1e3, y_m=1e3), 0, Caution(), [0]
        )
        plans = knots.chunks(np.random.default_rng(0).uniform(-0.3, 0.3, (batch, knots.size)), moment.measured[-1])
        imagination.worth(plans)
        began, already = time.perf_counter(), imagination.clips
        imagination.worth(plans)
        rates[batch] = (imagination.clips - already) / (time.perf_counter() - began)
    return rates


def described(rates: dict[int, float]) -> str:
    """Returns the rates as text."""
    return (
        f"{rates[1]:.0f} clips a second one by one, {rates[64]:.0f} at batch 64 ({rates[64] / rates[1]:.1f} times as "
        f"many), {rates[256]:.0f} at batch 256 ({rates[256] / rates[1]:.1f})"
    )
