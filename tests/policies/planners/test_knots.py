"""What plans mean, against a frame-by-frame reading of the definition."""

from collections.abc import Sequence

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot
from hwm_env.reference.kinematics import RobotState, advance
from hwm_env.types import ACTION_NAMES, FRAMES_PER_CLIP
from policies.planners.knots import DRIVING, LEFT_ARM, Knots, controls_of

STATE = robot.REST_POSE
LOW, HIGH = 0.9 * robot.ACTION_LOW, 0.8 * robot.ACTION_HIGH


def make(controls: Sequence[str], horizon: int, count: int) -> Knots:
    return Knots(controls, horizon, count, LOW, HIGH)


@pytest.mark.parametrize(("horizon", "count"), [(1, 1), (2, 2), (3, 2), (2, 5), (4, 1)])
def test_numbers_move_in_straight_lines_from_knot_to_knot(horizon: int, count: int) -> None:
    knots = make(("left_hand_closure", "neck_pitch"), horizon, count)
    # Small changes, so that the robot's rate limits do nothing.
    rng = np.random.default_rng(0)
    columns = [ACTION_NAMES.index(name) for name in knots.controls]
    low, high = LOW[columns], HIGH[columns]
    parameters = (STATE[columns] - low) / (high - low) * 2 - 1 + rng.uniform(0, 0.02, (3, count, 2))
    chunks = knots.chunks(parameters.reshape(3, -1), STATE).reshape(3, horizon * FRAMES_PER_CLIP, -1)
    frames = horizon * FRAMES_PER_CLIP
    for plan in range(3):
        for control, column in enumerate(columns):
            targets = low[control] + (parameters[plan, :, control] + 1) / 2 * (high - low)[control]
            at = np.arange(count + 1) * frames / count
            expected = np.interp(np.arange(1, frames + 1), at, [STATE[column], *targets])
            np.testing.assert_allclose(chunks[plan, :, column], expected, atol=1e-5)
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
    """Slow enough for the robot; where a knot falls after the shift, the old plan's line is met again."""
    knots = make(("neck_pitch",), 4, 4)
    parameters = np.array([0.0, 0.1, 0.2, 0.1])
    np.testing.assert_allclose(knots.shifted(parameters), [0.1, 0.2, 0.1, 0.1])
    np.testing.assert_allclose(make(("neck_pitch",), 4, 2).shifted(np.array([0.0, 0.4])), [0.2, 0.4])
    two = make(DRIVING, 2, 2)
    np.testing.assert_allclose(two.shifted(np.array([0.1, 0.2, 0.3, 0.4])), [0.3, 0.4, 0.3, 0.4])


def test_controls() -> None:
    assert controls_of("face-target") == DRIVING
    assert set(controls_of("reach-cube")) > set(DRIVING)
    with pytest.raises(InvalidInputError, match="got tail"):
        make(("tail",), 1, 1)
    with pytest.raises(InvalidInputError, match="got none"):
        make((), 1, 1)
    with pytest.raises(InvalidInputError, match="horizon must be at least 1"):
        make(DRIVING, 0, 1)
