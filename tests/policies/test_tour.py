"""The robot can carry out the tour exactly."""

import numpy as np

from hwm_env.reference.kinematics import RobotState, advance
from hwm_env.reference.robot import REST_POSE
from policies.tour import TOUR, Tour


def test_the_robot_follows_every_frame_exactly() -> None:
    """Rate and joint limits change nothing, so that both worlds receive the same actions."""
    tour = Tour()
    tour.reset([0])
    state = RobotState(np.zeros(3), REST_POSE)
    for _ in TOUR:
        for action in tour.act([{"state": state.action}])[0]:
            state = advance(state, action)
            np.testing.assert_allclose(state.action, action, atol=1e-6)


def test_steps_lead_where_they_say() -> None:
    tour = Tour()
    tour.reset([0])
    state = REST_POSE
    for name, target in TOUR[:8]:
        state = tour.act([{"state": state}])[0, -1]
        if name.startswith(("turn", "drive")):
            np.testing.assert_allclose(state[23:], target[23:], atol=1e-6)


def test_after_the_tour_the_robot_comes_to_rest() -> None:
    tour = Tour()
    tour.reset([0])
    state = REST_POSE
    for _ in range(len(TOUR) + 4):
        state = tour.act([{"state": state}])[0, -1]
    np.testing.assert_allclose(state, REST_POSE, atol=1e-6)


def test_reset_begins_again() -> None:
    tour, here = Tour(), [{"state": REST_POSE}]
    tour.reset([0])
    first = tour.act(here)
    tour.act(here)
    tour.reset([1])
    np.testing.assert_array_equal(tour.act(here), first)


def test_each_robot_is_led_from_where_it_is() -> None:
    tour, other = Tour(), REST_POSE + np.float32(0.05)
    tour.reset([0, 1])
    both = tour.act([{"state": REST_POSE}, {"state": other}])
    tour.reset([1])
    np.testing.assert_array_equal(tour.act([{"state": other}]), both[1:])
    assert not np.array_equal(both[0], both[1])
