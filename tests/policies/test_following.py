"""Chunks and velocities against the reference robot, frame by frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.reference import robot
from hwm_env.reference.kinematics import RobotState, advance
from hwm_env.types import ANGULAR_VELOCITY, FRAME_RATE_HZ, FRAMES_PER_CLIP
from policies.following import follow, velocity_for


def test_a_chunk_is_what_the_robot_measures_for_the_target() -> None:
    rng = np.random.default_rng(0)
    states, targets = rng.uniform(robot.ACTION_LOW, robot.ACTION_HIGH, (2, 5, 25)).astype(np.float32)
    chunks = follow(states, targets)
    for start, target, chunk in zip(states, targets, chunks, strict=True):
        state = RobotState(np.zeros(3), start)
        for numbers in chunk:
            state = advance(state, target)
            np.testing.assert_allclose(numbers, state.action, atol=1e-5)


@given(distance=st.floats(-0.3, 0.3), now=st.floats(-0.6, 0.6))
def test_no_other_velocity_leads_nearer(distance: float, now: float) -> None:
    acceleration, limit = float(robot.RATE_LIMITS[ANGULAR_VELOCITY]), 0.6

    def turned(velocity: float) -> float:
        total, current = 0.0, now
        for _ in range(FRAMES_PER_CLIP):
            current += min(max(velocity - current, -acceleration / FRAME_RATE_HZ), acceleration / FRAME_RATE_HZ)
            total += current / FRAME_RATE_HZ
        return total

    chosen = velocity_for(distance, now, acceleration, limit)
    assert abs(chosen) <= limit
    best = min(abs(turned(velocity) - distance) for velocity in np.linspace(-limit, limit, 25))
    assert abs(turned(chosen) - distance) == pytest.approx(best, abs=0.01) or abs(turned(chosen) - distance) < best
