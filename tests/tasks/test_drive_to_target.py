import math
from collections import deque

import numpy as np
import pytest

from hwm_env.reference import room
from hwm_env.tasks.drive_to_target import STANDING_POINTS, DriveToTarget, DriveToTargetGoal
from tests.tasks.playing import begin, moment_at

CELL_M = 0.1
CELLS = round(room.HALF_SIZE_M / CELL_M)


def cell(xy: tuple[float, float]) -> tuple[int, int]:
    return round(xy[0] / CELL_M), round(xy[1] / CELL_M)


@pytest.fixture(scope="module")
def reachable() -> set[tuple[int, int]]:
    """Cells of the floor that the base can roll to from the middle of the room, found by flooding."""
    seen, queue = {(0, 0)}, deque([(0, 0)])
    while queue:
        i, j = queue.popleft()
        for near in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if near not in seen and room.is_free(CELL_M * np.array(near)):
                seen.add(near)
                queue.append(near)
    return seen


@pytest.mark.parametrize("landmark", room.LANDMARKS)
def test_standing_points_are_free_reachable_and_near(landmark: str, reachable: set[tuple[int, int]]) -> None:
    point = STANDING_POINTS[landmark]
    assert room.is_free(np.array(point), margin_m=0.1)
    assert cell(point) in reachable
    assert 0.3 < math.dist(point, room.LANDMARKS[landmark]) < 1.7, "the banner hangs behind the sofa"


def test_random_targets_are_near_enough_and_not_too_near(reachable: set[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    landmarks = set()
    for i, j in sorted(reachable)[::29]:
        target = begin(DriveToTarget(), moment_at(i * CELL_M, j * CELL_M, 0.0), rng)
        assert 1.5 <= math.dist((target.x_m, target.y_m), (i * CELL_M, j * CELL_M)) <= 4.0
        landmarks.add(target.landmark)
    assert landmarks == set(room.LANDMARKS)


def test_a_named_target_is_taken_at_any_distance() -> None:
    for x_m in (-3.0, 0.0, 3.0):
        target = begin(DriveToTarget(), moment_at(x_m, 0.0, 0.0), target="sofa")
        assert (target.x_m, target.y_m) == STANDING_POINTS["sofa"]


@pytest.mark.parametrize(
    ("yaw_rad", "expected"),
    [
        pytest.param(0.0, [1, 0, 0.5], id="ahead"),
        pytest.param(math.pi / 2, [0, -1, 0.5], id="to the right"),
        pytest.param(-math.pi / 2, [0, 1, 0.5], id="to the left"),
        pytest.param(math.pi, [-1, 0, 0.5], id="behind"),
    ],
)
def test_what_is_observed(yaw_rad: float, expected: list[float]) -> None:
    observed = DriveToTargetGoal(landmark="door", x_m=3.0, y_m=1.0).observe(moment_at(1.0, 1.0, yaw_rad))
    assert observed.dtype == np.float32
    np.testing.assert_allclose(observed, expected, atol=1e-6)


def test_success_is_within_sixty_centimetres() -> None:
    target = DriveToTargetGoal(landmark="door", x_m=3.0, y_m=1.0)
    far, near = moment_at(2.39, 1.0, 0.0), moment_at(3.0, 0.41, 2.0)
    missed, reached = target.evaluate(near, far, 1), target.evaluate(far, near, 1)
    assert not missed.success
    assert not missed.terminated
    assert reached.success
    assert reached.terminated
    assert reached.reward_terms["progress"] == pytest.approx(0.61 - 0.59, abs=1e-5)
    assert reached.reward == pytest.approx(5.02, abs=1e-5)
