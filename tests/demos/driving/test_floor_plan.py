"""The floor plan, pixel by pixel, for rooms made by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from demos.driving.floor_plan import BLOCKED, COLOURS, FREE, MARGIN, FloorPlan, captions
from demos.driving.track import Track
from hwm_env.scene.odometry import Odometry, OdometryConfig
from hwm_env.types import UInt8Array

PIXELS = 160
INSIDE = PIXELS * (1 - 2 * MARGIN)
"""Pixels of the longer side of the bounds."""


def make_plan(
    clearance_m: Callable[[Tensor], Tensor] | None = None,
    low_m: tuple[float, float] = (-4.0, -4.0),
    high_m: tuple[float, float] = (4.0, 4.0),
) -> FloorPlan:
    """Makes the odometry of a room that is free everywhere by default."""
    odometry = Odometry(OdometryConfig(low_m=low_m, high_m=high_m, hidden=8))
    odometry.clearance_m = clearance_m or (lambda xy_m: xy_m.new_ones(xy_m.shape[:-1]))  # type: ignore[method-assign]
    return FloorPlan(odometry, PIXELS)


def pixel(x_m: float, y_m: float) -> tuple[int, int]:
    """Returns the pixel, vertical then horizontal, of a place in a room of 8 m around the origin."""
    return int(PIXELS / 2 - y_m * INSIDE / 8), int(PIXELS / 2 + x_m * INSIDE / 8)


def standing(*pose: float, std: tuple[float, float, float] = (0, 0, 0)) -> Track:
    return Track(np.array([pose], np.float32), np.array(std, np.float32))


def marked(picture: UInt8Array) -> np.ndarray:
    """Returns the pixels, vertical then horizontal, that differ from a free floor, [N, 2]."""
    return np.argwhere((picture != FREE).any(axis=-1))


@pytest.mark.parametrize(
    ("x_m", "y_m", "colour"),
    [
        (0.9, 3.5, FREE),
        (1.1, 3.5, BLOCKED),
        (0.9, -1.9, FREE),
        (0.9, -2.1, BLOCKED),
        (-3.9, 0.0, FREE),
        (3.9, -3.9, BLOCKED),
    ],
)
def test_the_floor_is_light_where_the_base_can_stand(x_m: float, y_m: float, colour: tuple[int, int, int]) -> None:
    plan = make_plan(lambda xy_m: torch.minimum(1 - xy_m[..., 0], xy_m[..., 1] + 2))
    assert tuple(plan.draw({})[pixel(x_m, y_m)]) == colour


def test_a_long_room_is_in_the_middle() -> None:
    plan = make_plan(lambda xy_m: 0.5 - (xy_m - xy_m.new_tensor([1.0, 0.5])).norm(dim=-1), (-2, -1), (4, 2))
    rows, columns = np.argwhere((plan.draw({}) == FREE).all(axis=-1)).T
    radius = 0.5 * INSIDE / 6
    for places in (rows, columns):
        assert places.mean() + 0.5 == pytest.approx(PIXELS / 2, abs=0.1)
        assert np.ptp(places) == pytest.approx(2 * radius, abs=2.5)


@pytest.mark.parametrize("name", ["learned", "reference"])
@pytest.mark.parametrize("yaw_deg", [0, 60, 90, 180, -135])
def test_the_mark_stands_at_the_pose_and_points_ahead(name: str, yaw_deg: int) -> None:
    x_m, y_m, yaw = 1.5, -2.0, np.radians(yaw_deg)
    picture = make_plan().draw({name: standing(x_m, y_m, yaw)})  # type: ignore[dict-item]
    row, column = PIXELS / 2 - y_m * INSIDE / 8, PIXELS / 2 + x_m * INSIDE / 8
    offsets = marked(picture) + 0.5 - (row, column)
    assert np.linalg.norm(offsets, axis=1).max() < 0.07 * PIXELS
    ahead = np.array([-np.sin(yaw), np.cos(yaw)])
    left = np.array([-np.cos(yaw), -np.sin(yaw)])
    # The tip: the farthest pixels ahead are only on the middle line, and farther than those behind.
    assert (offsets @ ahead).max() > -(offsets @ ahead).min()
    assert abs(offsets[(offsets @ ahead).argmax()] @ left) < 1.5
    assert (offsets @ left).max() == pytest.approx(-(offsets @ left).min(), abs=1.5)
    middle = np.floor((row, column) + 2 * ahead).astype(int)
    assert tuple(picture[tuple(middle)]) == COLOURS[name]  # type: ignore[index]


def test_a_world_that_knows_no_place_has_no_mark() -> None:
    plan, unknown = make_plan(), Track.of([{}])
    np.testing.assert_array_equal(plan.draw({"learned": unknown}), plan.draw({}))
    assert captions({"learned": unknown}) == {"learned": "pose unknown"}
    both = {"learned": standing(0, 0, 0), "reference": standing(1, 0, 0)}
    assert captions(both) == {
        "learned": "pose in the learned world",
        "reference": "true pose",
    }


def test_both_marks_are_seen_at_one_place() -> None:
    picture = make_plan().draw({"learned": standing(0, 0, 0), "reference": standing(0, 0, 0)})
    for colour in COLOURS.values():
        assert (picture == colour).all(axis=-1).any()


def test_the_trail_leads_to_the_pose_and_has_gaps() -> None:
    nan = np.nan
    poses = [[-3, -3, 0], [-3, 0, 0], [-3, 3, 0], [nan, nan, nan], [0, 3, 0], [3, 3, 0]]
    picture = make_plan().draw({"learned": Track(np.array(poses, np.float32), np.zeros(3, np.float32))})
    for x_m, y_m, has_trail in [(-3, -1.5, True), (-3, 1.5, True), (-1.5, 3, False), (1.5, 3, True), (0, 0, False)]:
        assert (tuple(picture[pixel(x_m, y_m)]) != FREE) == has_trail


def test_a_faint_ellipse_has_two_standard_deviations() -> None:
    plan = make_plan()
    picture = plan.draw({"learned": standing(0, 0, 0, std=(1.0, 0.5, 3.0))})
    for x_m, y_m, is_within in [(1.9, 0, True), (2.1, 0, False), (0, 0.9, True), (0, 1.1, False), (-1.9, 0, True)]:
        assert (tuple(picture[pixel(x_m, y_m)]) != FREE) == is_within
    assert tuple(picture[pixel(1.9, 0)]) != COLOURS["learned"]
    nowhere = plan.draw({"learned": standing(0, 0, 0, std=(np.inf, 1e30, 1))})
    assert (nowhere != FREE).any(axis=-1).all()


def test_drawing_leaves_the_room_as_it_was() -> None:
    plan = make_plan()
    before = plan.draw({})
    plan.draw({"learned": standing(0, 0, 0)})
    np.testing.assert_array_equal(plan.draw({}), before)


# Tracks


def test_a_track_is_what_the_infos_say() -> None:
    pose = np.array([1, 2, 3], np.float32)
    track = Track.of([{"base_pose": pose}, {"pose": pose, "pose_std": pose / 10}])
    assert track.is_known
    np.testing.assert_array_equal(track.poses, [[np.nan] * 3, pose])
    np.testing.assert_array_equal(track.std, pose / 10)
    assert not Track.of([{"pose": pose}, {}]).is_known


def test_a_pose_moves_while_its_step_is_shown() -> None:
    infos = [{"pose": np.array(pose, np.float32)} for pose in ([0, 0, 0], [1, 2, 3.0], [2, 0, -3.0])]
    halfway = Track.of(infos).during(0.5)
    np.testing.assert_allclose(halfway.poses[:2], [[0, 0, 0], [1, 2, 3]])
    np.testing.assert_allclose(halfway.poses[2, :2], [1.5, 1])
    # The shorter direction.
    assert abs(halfway.poses[2, 2]) == pytest.approx(np.pi, abs=1e-6)
    np.testing.assert_allclose(Track.of(infos).during(1.0).poses[2, :2], [2, 0])
    assert Track.of(infos[:1]).during(0.5).poses.tolist() == [[0, 0, 0]]
    assert Track.of([{}, infos[0]]).during(0.5).poses[1].tolist() == [0, 0, 0]
