"""The tour is something the robot can do."""

import numpy as np

from hwm_env.reference.kinematics import RobotState, advance
from hwm_env.reference.robot import REST_POSE
from policies.tour import TOUR, Tour


def test_the_robot_follows_every_frame_exactly() -> None:
    """Its rate and joint limits change nothing, so both worlds are driven by the same numbers."""
    tour = Tour()
    tour.reset(seed=0)
    state = RobotState(np.zeros(3), REST_POSE)
    for _ in TOUR:
        for action in tour.act({"state": state.action}):
            state = advance(state, action)
            np.testing.assert_allclose(state.action, action, atol=1e-6)


def test_steps_lead_where_they_say() -> None:
    tour = Tour()
    tour.reset(seed=0)
    state = REST_POSE
    for name, target in TOUR[:8]:
        state = tour.act({"state": state})[-1]
        if name.startswith(("turn", "drive")):
            np.testing.assert_allclose(state[23:], target[23:], atol=1e-6)


def test_after_the_tour_the_robot_comes_to_rest() -> None:
    tour = Tour()
    tour.reset(seed=0)
    state = REST_POSE
    for _ in range(len(TOUR) + 4):
        state = tour.act({"state": state})[-1]
    np.testing.assert_allclose(state, REST_POSE, atol=1e-6)


def test_reset_begins_again() -> None:
    tour = Tour()
    tour.reset(seed=0)
    first = tour.act({"state": REST_POSE})
    tour.act({"state": REST_POSE})
    tour.reset(seed=1)
    np.testing.assert_array_equal(tour.act({"state": REST_POSE}), first)
