import math
from collections import deque

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.reference import room
from hwm_env.reference.kinematics import move_base
from hwm_env.tasks.base import WorldReadout
from hwm_env.tasks.drive_to_target import STANDING_POINTS, DriveToTarget, Target
from hwm_env.tasks.registry import make_task

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
        start = WorldReadout.from_pose([i * CELL_M, j * CELL_M, 0])
        target = DriveToTarget().reset(rng, start, {})
        assert 1.5 <= math.dist((target.x_m, target.y_m), (i * CELL_M, j * CELL_M)) <= 4.0
        landmarks.add(target.landmark)
    assert landmarks == set(room.LANDMARKS)


def test_a_lost_robot_gets_a_target_too() -> None:
    target = DriveToTarget().reset(np.random.default_rng(0), WorldReadout.from_pose([90, 90, 0]), {})
    assert target.landmark in room.LANDMARKS


def test_a_named_target_is_taken() -> None:
    target = DriveToTarget().reset(np.random.default_rng(0), WorldReadout.from_pose([0, 0, 0]), {"target": "sofa"})
    assert (target.x_m, target.y_m) == STANDING_POINTS["sofa"]
    assert target.describe()["target"] == "sofa"
    assert target.describe()["target_xy"].dtype == np.float32


@pytest.mark.parametrize("value", ["kitchen", 3, None, ["sofa"], np.zeros(2)])
def test_other_targets_are_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="red_pillar"):
        DriveToTarget().check_options({"target": value})


@pytest.mark.parametrize(
    ("yaw_rad", "expected"),
    [
        pytest.param(0.0, [1, 0, 0.5], id="ahead"),
        pytest.param(math.pi / 2, [0, -1, 0.5], id="to the right"),
        pytest.param(-math.pi / 2, [0, 1, 0.5], id="to the left"),
        pytest.param(math.pi, [-1, 0, 0.5], id="behind"),
    ],
)
def test_goal_vector(yaw_rad: float, expected: list[float]) -> None:
    vector = Target(landmark="door", x_m=3.0, y_m=1.0).vector(WorldReadout.from_pose([1.0, 1.0, yaw_rad]))
    np.testing.assert_allclose(vector, expected, atol=1e-6)
    assert vector in DriveToTarget().goal_space


def test_goal_vectors_of_lost_robots_stay_in_the_space() -> None:
    vector = Target(landmark="door", x_m=3.0, y_m=1.0).vector(WorldReadout.from_pose([1e3, -1e3, 9.0]))
    assert vector in DriveToTarget().goal_space


def test_steering_by_the_goal_vector_arrives_and_progress_adds_up() -> None:
    target = Target(landmark="window", x_m=0.3, y_m=3.0)
    pose = np.array([0.0, 0.0, -2.0])
    first = now = WorldReadout.from_pose(pose)
    progress = 0.0
    for _ in range(60):
        cos, sin, _ = target.vector(now)
        for _ in range(17):
            pose = move_base(pose, 0.6 if cos > 0.9 else 0.0, 0.8 * math.atan2(sin, cos))
        previous, now = now, WorldReadout.from_pose(pose)
        outcome = target.evaluate(previous, now)
        assert outcome.success == outcome.terminated == (math.dist(pose[:2], (0.3, 3.0)) <= 0.6)
        assert outcome.reward == pytest.approx(sum(outcome.reward_terms.values()))
        progress += outcome.reward_terms["progress"]
        if outcome.terminated:
            break
    assert outcome.reward_terms["success"] == 5.0
    assert progress == pytest.approx(target.distance_m(first) - target.distance_m(now))
    assert progress > 2.3


def test_readouts_keep_their_order() -> None:
    readout = WorldReadout.from_pose([1.0, 2.0, 3.0])
    assert (readout.base_x_m, readout.base_y_m, readout.base_yaw_rad) == (1.0, 2.0, 3.0)
    np.testing.assert_array_equal(readout.base_pose, np.array([1, 2, 3], np.float32))


def test_tasks_by_name() -> None:
    assert isinstance(make_task("drive-to-target"), DriveToTarget)
    with pytest.raises(InvalidInputError, match=r"'fly'.*drive-to-target"):
        make_task("fly")
