import numpy as np
import pytest

from hwm_env.reference import room
from hwm_env.tasks.base import TaskView, WorldReadout
from hwm_env.tasks.reach_cube import ReachCube, ReachCubeGoal
from tests.tasks.playing import SeenMoment, begin, moment_at

CUBE = ReachCubeGoal(cube="red", centre_m=(1.0, 2.0, 0.8))


def with_hands(left_m: list[float], right_m: list[float], base: tuple[float, float, float] = (0, 0, 0)) -> TaskView:
    readout = WorldReadout.from_vector([*base, 0, 0, 1.3, 1, 0, 0, *left_m, *right_m])
    return SeenMoment(readout, np.zeros((17, 25), np.float32))


def test_the_nearer_hand_counts() -> None:
    left, right = with_hands([1.0, 2.0, 0.5], [0, 0, 0]), with_hands([0, 0, 0], [1.0, 1.9, 0.8])
    assert CUBE.distance_m(left) == pytest.approx(0.3, abs=1e-6)
    assert CUBE.distance_m(right) == pytest.approx(0.1, abs=1e-6)
    missed, reached = CUBE.evaluate(right, left, 1), CUBE.evaluate(left, right, 1)
    assert not missed.success
    assert not missed.terminated
    assert reached.success
    assert reached.terminated
    assert reached.reward_terms["progress"] == pytest.approx(0.2, abs=1e-6)
    assert reached.reward == pytest.approx(5.2, abs=1e-6)
    assert missed.reward == pytest.approx(-0.2, abs=1e-6)


def test_what_is_observed_is_in_the_frame_of_the_robot() -> None:
    """Base at (1, 0) looking north: the cube is 2 m ahead; the nearer hand has it 0.5 m ahead and 0.2 m to the left."""
    moment = with_hands([1.2, 1.5, 0.7], [1.6, 1.5, 0.7], base=(1.0, 0.0, np.pi / 2))
    observed = CUBE.observe(moment)
    assert observed.dtype == np.float32
    np.testing.assert_allclose(observed, [0.5, 0, 0.2, 0.5, 0.2, 0.1], atol=1e-6)


def test_far_offsets_of_the_hand_are_cut_off() -> None:
    np.testing.assert_array_equal(CUBE.observe(with_hands([-3, -3, 3], [-4, -4, 4]))[3:], [1, 1, -1])


def test_the_cubes_are_where_the_room_has_them() -> None:
    for name, centre in room.CUBES.items():
        assert begin(ReachCube(), moment_at(0, 0, 0), cube=name).centre_m == centre


def test_a_cube_at_hand_is_only_taken_where_it_is_named() -> None:
    x, y, _ = room.CUBES["red"]
    moment = moment_at(x - 0.6, y - 0.3, 0.0, left_shoulder_pitch=0.9)
    near = begin(ReachCube(), moment, cube="red")
    assert near.distance_m(moment) < 0.5
    assert {begin(ReachCube(), moment, seed).cube for seed in range(30)} == {"green", "blue"}
