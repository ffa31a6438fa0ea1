"""Measures how many clips a second a planner predicts with room-64, without frames: `make bench`."""

import time

import numpy as np
import pytest

from hwm_env.envs.config import EnvConfig
from hwm_env.envs.learned import LearnedWorld
from hwm_env.tasks.face_target import FaceTargetGoal
from policies.planners.imagination import Caution, Imagination
from policies.planners.knots import DRIVING, Knots
from tests.benchmarks.timing import NEEDS_BFLOAT16

pytestmark = pytest.mark.benchmark

HORIZON = 4


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=NEEDS_BFLOAT16)])
def test_candidates_a_second(precision: str) -> None:
    """Compares batches with one candidate at a time, in the same run."""
    simulator = EnvConfig(precision=precision).make_simulator()  # type: ignore[arg-type]
    world = LearnedWorld(simulator)
    (moment,) = world.begin([world.start(0)], [0])
    statistics = simulator.checkpoint.statistics
    knots = Knots(DRIVING, HORIZON, 2, statistics.low, statistics.high, statistics.max_change)
    rates = {}
    for batch in (1, 64, 256):
        # A goal that is never reached, so that all plans live to the end.
        imagination = Imagination(world, moment, FaceTargetGoal(landmark="", x_m=1e3, y_m=1e3), 0, Caution(), [0])
        plans = knots.chunks(np.random.default_rng(0).uniform(-0.3, 0.3, (batch, knots.size)), moment.measured[-1])
        imagination.worth(plans)
        began, already = time.perf_counter(), imagination.clips
        imagination.worth(plans)
        rates[batch] = (imagination.clips - already) / (time.perf_counter() - began)
    print(
        f"\n{precision}: {rates[1]:.0f} clips a second one by one, {rates[64]:.0f} at batch 64 "
        f"({rates[64] / rates[1]:.1f} times as many), {rates[256]:.0f} at batch 256 ({rates[256] / rates[1]:.1f})"
    )
    assert rates[64] > rates[1]
