"""Plans of knots, against the definition computed frame by frame."""

from collections.abc import Sequence

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot
from hwm_env.reference.kinematics import LARGEST_CHANGE, RobotState, advance
from hwm_env.types import ACTION_NAMES, FRAME_RATE_HZ, FRAMES_PER_CLIP
from policies.planners.knots import DRIVING, LEFT_ARM, Knots, controls_of

STATE = robot.REST_POSE
LOW, HIGH = 0.9 * robot.ACTION_LOW, 0.8 * robot.ACTION_HIGH


def make(controls: Sequence[str], horizon: int, count: int) -> Knots:
    return Knots(controls, horizon, count, LOW, HIGH, LARGEST_CHANGE)


@pytest.mark.parametrize(("horizon", "count"), [(1, 1), (2, 2), (3, 2), (2, 5), (4, 1)])
def test_targets_are_pursued_one_after_the_other(horizon: int, count: int) -> None:
    knots = make(("left_hand_closure", "neck_pitch"), horizon, count)
    columns = [ACTION_NAMES.index(name) for name in knots.controls]
    parameters = np.random.default_rng(0).uniform(-1, 1, (3, count, 2))
    frames = horizon * FRAMES_PER_CLIP
    chunks = knots.chunks(parameters.reshape(3, -1), STATE).reshape(3, frames, -1)
    for plan in range(3):
        for control, column in enumerate(columns):
            low, high, now = LOW[column], HIGH[column], float(STATE[column])
            fastest = robot.RATE_LIMITS[column] / FRAME_RATE_HZ
            for frame in range(frames):
                knot = [k for k in range(count) if k * frames <= frame * count][-1]
                target = low + (parameters[plan, knot, control] + 1) / 2 * (high - low)
                now += min(max(target - now, -fastest), fastest)
                assert chunks[plan, frame, column] == pytest.approx(now, abs=1e-5)
    others = np.delete(chunks, columns, axis=2)
    np.testing.assert_array_equal(others, np.broadcast_to(np.delete(STATE, columns), others.shape))


def test_the_robot_can_follow_every_plan() -> None:
    knots = make((*DRIVING, *LEFT_ARM), 2, 3)
    plans = knots.chunks(np.random.default_rng(0).uniform(-2, 2, (5, knots.size)), STATE)
    assert plans.dtype == np.float32
    columns = [ACTION_NAMES.index(name) for name in knots.controls]
    assert (plans[..., columns] >= LOW[columns] - 1e-6).all()
    assert (plans[..., columns] <= HIGH[columns] + 1e-6).all()
    for plan in plans:
        state = RobotState(np.zeros(3), STATE)
        for action in plan.reshape(-1, plan.shape[-1]):
            state = advance(state, action)
            np.testing.assert_allclose(state.action, action, atol=1e-6)


def test_a_shifted_plan_is_what_was_left_of_it() -> None:
    knots = make(("neck_pitch",), 4, 4)
    np.testing.assert_array_equal(knots.shifted(np.array([0.0, 0.1, 0.2, 0.3])), [0.1, 0.2, 0.3, 0.3])
    # Half a knot later, the middle of the first one's time belongs to the second.
    np.testing.assert_array_equal(make(("neck_pitch",), 4, 2).shifted(np.array([0.0, 0.4])), [0.4, 0.4])
    np.testing.assert_array_equal(make(("neck_pitch",), 4, 1).shifted(np.array([0.3])), [0.3])
    two = make(DRIVING, 2, 2)
    np.testing.assert_array_equal(two.shifted(np.array([0.1, 0.2, 0.3, 0.4])), [0.3, 0.4, 0.3, 0.4])


def test_controls() -> None:
    assert controls_of("face-target") == DRIVING
    assert controls_of("look-at") == (*DRIVING, "neck_pitch")
    assert set(controls_of("reach-cube")) > set(DRIVING)
    with pytest.raises(InvalidInputError, match="got 'tail'"):
        make(("tail",), 1, 1)
    with pytest.raises(InvalidInputError, match="controls must be 1 or more items"):
        make((), 1, 1)
    with pytest.raises(InvalidInputError, match="horizon must be at least 1"):
        make(DRIVING, 0, 1)
