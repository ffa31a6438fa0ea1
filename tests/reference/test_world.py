import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot, room
from hwm_env.reference.kinematics import RobotState
from hwm_env.reference.world import ReferenceWorld
from hwm_env.types import UInt8Array

FEW_PIXELS = 10
WATCHING_TABLE = np.array([0.4, room.TABLE.y, 0.0])


def seen(world: ReferenceWorld, base_pose: np.ndarray, **numbers: float) -> np.ndarray:
    world.set_state(RobotState(np.asarray(base_pose, np.float64), robot.pose(numbers)))
    return world.render().astype(np.int64)


def centroid(mask: np.ndarray) -> tuple[float, float]:
    """Row and column of the middle of the marked pixels, in pixels from the top left corner."""
    assert mask.sum() >= 4, "nothing of that colour is in the picture"
    rows, columns = np.nonzero(mask)
    return float(rows.mean()) + 0.5, float(columns.mean()) + 0.5


def is_green(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 1] > 80) & (picture[..., 0] < 60) & (picture[..., 2] < 60)


def is_orange(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 180) & (picture[..., 2] < 50) & (picture[..., 0] - picture[..., 1] > 60)


def is_teal(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] < 30) & (picture[..., 1] > 90) & (abs(picture[..., 1] - picture[..., 2]) < 25)


def is_pink(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 150) & (picture[..., 0] - picture[..., 1] > 50) & (picture[..., 2] > picture[..., 1] + 15)


def test_a_cube_is_where_a_ninety_degree_pinhole_camera_puts_it(world: ReferenceWorld) -> None:
    """The middle of the green cube, by hand: straight legs, level head, camera 6 cm ahead of the neck."""
    straight = {"hip_pitch": 0.0, "knee_pitch": 0.0, "ankle_pitch": 0.0, "neck_pitch": 0.0}
    cube_xyz = np.array([room.TABLE.x + 0.12, room.TABLE.y, room.TABLE.height + 0.11])
    for offset_y in (-0.5, 0.0, 0.5):
        base = np.array([0.3, room.TABLE.y + offset_y, 0.0])
        camera_xyz = np.array([base[0] - 0.12 + 0.06, base[1], 0.2 + 0.7 + 0.41 + 0.05])
        forward, left, up = cube_xyz - camera_xyz
        row, column = centroid(is_green(seen(world, base, **straight)))
        # The visible faces' middle is not the cube's, hence pixels of slack.
        assert column == pytest.approx(32 * (1 - left / forward), abs=1.5)
        assert row == pytest.approx(32 * (1 - up / forward), abs=1.5)


def test_turning_left_moves_the_picture_right(world: ReferenceWorld) -> None:
    world.set_state(RobotState(WATCHING_TABLE, robot.REST_POSE))
    _, before = centroid(is_green(world.render().astype(np.int64)))
    for _ in range(15):
        world.step(robot.pose({"angular_velocity": 0.6}))
    _, after = centroid(is_green(world.render().astype(np.int64)))
    assert after > before + 4


def test_driving_forward_makes_things_larger(world: ReferenceWorld) -> None:
    far = is_green(seen(world, WATCHING_TABLE)).sum()
    assert is_green(seen(world, WATCHING_TABLE + np.array([0.5, 0.0, 0.0]))).sum() > 1.3 * far


def test_positive_neck_pitch_looks_down(world: ReferenceWorld) -> None:
    level, _ = centroid(is_green(seen(world, WATCHING_TABLE, neck_pitch=0.0)))
    down, _ = centroid(is_green(seen(world, WATCHING_TABLE, neck_pitch=0.4)))
    assert down < level - 5


def test_arms_show_on_their_side_only_when_raised(world: ReferenceWorld) -> None:
    spot = np.array([-1.0, -1.0, 0.3])
    rest = seen(world, spot)
    assert max(is_orange(rest).sum(), is_teal(rest).sum()) < FEW_PIXELS
    left = seen(world, spot, left_shoulder_pitch=1.2, left_elbow_pitch=0.4)
    row, column = centroid(is_orange(left))
    assert column < 28
    assert row > 32
    assert is_teal(left).sum() < FEW_PIXELS < is_orange(left).sum()
    right = seen(world, spot, right_shoulder_pitch=1.2, right_elbow_pitch=0.4)
    assert centroid(is_teal(right))[1] > 36
    assert is_orange(right).sum() < FEW_PIXELS < is_teal(right).sum()


def test_closing_a_hand_brings_its_fingers_together(world: ReferenceWorld) -> None:
    reach = {"left_shoulder_pitch": 1.2, "left_elbow_pitch": 0.4}
    spot = np.array([-1.0, -1.0, 0.3])
    opened, closed = (is_pink(seen(world, spot, **reach, left_hand_closure=closure)) for closure in (0.0, 1.0))
    for pink in (opened, closed):
        assert centroid(pink)[1] < 32
    assert np.ptp(np.nonzero(opened)[1]) > np.ptp(np.nonzero(closed)[1]) + 3


@pytest.mark.parametrize("image_size", [48, 100, 256])
def test_any_image_size_shows_the_same_scene(world: ReferenceWorld, image_size: int) -> None:
    def coarse(picture: np.ndarray) -> np.ndarray:
        cell = len(picture) // 4
        return picture.reshape(4, cell, 4, cell, 3).mean((1, 3))

    with ReferenceWorld(image_size) as other:
        picture = seen(other, WATCHING_TABLE)
    assert picture.shape == (image_size, image_size, 3)
    np.testing.assert_allclose(coarse(picture), coarse(seen(world, WATCHING_TABLE)), atol=3)


def test_a_clip_is_seventeen_steps(world: ReferenceWorld) -> None:
    actions = np.tile(robot.pose({"linear_velocity": 0.4, "angular_velocity": 0.3}), (17, 1))
    start = world.reset(np.random.default_rng(5))
    measured, frames, poses = world.step_clip(actions)
    end_of_clip = world.state

    world.set_state(start)
    pictures: list[UInt8Array] = []
    for frame, action in enumerate(actions):
        np.testing.assert_array_equal(world.step(action), measured[frame])
        np.testing.assert_array_equal(world.state.base_pose, poses[frame])
        pictures.append(world.render())
    np.testing.assert_array_equal(np.array(pictures), frames)
    np.testing.assert_array_equal(world.state.base_pose, end_of_clip.base_pose)


def test_worlds_do_not_share_state_and_agree(world: ReferenceWorld) -> None:
    with ReferenceWorld(64) as other:
        states = [each.reset(np.random.default_rng(9)) for each in (world, other)]
        np.testing.assert_array_equal(states[0].base_pose, states[1].base_pose)
        np.testing.assert_array_equal(world.render(), other.render())
        before = world.render()
        other.reset(np.random.default_rng(10))
        other.render()
        np.testing.assert_array_equal(world.render(), before)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (RobotState(np.zeros(2), robot.REST_POSE), "base_pose of a state must be 3"),
        (RobotState(np.array([0.0, np.nan, 0.0]), robot.REST_POSE), "nan"),
        (RobotState(np.zeros(3), np.zeros(24, np.float32)), "action of a state must be 25"),
    ],
)
def test_bad_states_are_refused(world: ReferenceWorld, state: RobotState, words: str) -> None:
    before = world.state
    with pytest.raises(InvalidInputError, match=words):
        world.set_state(state)
    assert world.state is before


def test_changing_what_a_step_returned_does_not_move_the_robot(world: ReferenceWorld) -> None:
    measured = world.step(robot.REST_POSE)
    measured += 1.0
    np.testing.assert_array_equal(world.state.action, robot.REST_POSE)


def test_resets_are_free_and_differ(world: ReferenceWorld) -> None:
    rng = np.random.default_rng(0)
    places = np.array([world.reset(rng).base_pose for _ in range(100)])
    assert room.is_free(places[:, :2]).all()
    assert (places.std(0) > 1.0).all()


def test_a_bad_clip_leaves_the_world_unchanged(world: ReferenceWorld) -> None:
    before = world.reset(np.random.default_rng(0))
    actions = np.tile(robot.REST_POSE, (17, 1))
    actions[9, 3] = np.nan
    with pytest.raises(InvalidInputError, match=r"frames \[9\]"):
        world.step_clip(actions)
    with pytest.raises(InvalidInputError, match=r"\(16, 25\)"):
        world.step_clip(actions[:16])
    assert world.state is before
