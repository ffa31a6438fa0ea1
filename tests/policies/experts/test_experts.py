"""Experts in the dynamics of the reference world, without rendering."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.reference import room
from hwm_env.reference.body import quantities
from hwm_env.reference.kinematics import RobotState, advance
from hwm_env.reference.robot import REST_POSE
from hwm_env.tasks.base import WorldReadout
from hwm_env.tasks.drive_to_target import STANDING_POINTS, SUCCESS_RADIUS_M
from hwm_env.tasks.room_task import compass
from hwm_env.types import Float32Array
from policies.experts.expert import CONTROLLERS, Expert, graded_experts
from policies.experts.reaching import nearest_posture
from policies.experts.skill import GRADES, Skill, turned

Observe = Callable[[WorldReadout], Float32Array]


def where(state: RobotState) -> WorldReadout:
    return WorldReadout.from_vector(quantities(state.base_pose[None], state.action[None])[0])


def lead(expert: Expert, pose: tuple[float, float, float], observe: Observe, steps: int) -> list[WorldReadout]:
    """Returns the robot's state after each env step of an expert."""
    expert.reset([0])
    state, path = RobotState(np.array(pose), REST_POSE), []
    for _ in range(steps):
        for action in expert.act([{"state": state.action, "goal": observe(where(state))}])[0]:
            state = advance(state, action)
        path.append(where(state))
    return path


@pytest.mark.parametrize("yaw", [-3.0, -1.2, 0.7, 2.0])
def test_facing_takes_as_few_clips_as_the_speed_allows(yaw: float) -> None:
    path = lead(Expert("face-target"), (0.0, 0.0, yaw), lambda readout: compass(readout, 3.0, 0.0), 12)
    # 0.6 rad/s for 0.567 s, and a clip to accelerate.
    needed = math.ceil(abs(yaw) / 0.34) + 1
    assert all(abs(readout.base_yaw_rad) < math.radians(5) for readout in path[needed:])


def test_driving_goes_around_what_is_in_the_way() -> None:
    x, y = STANDING_POINTS["shelf"]
    pillar = room.RED_PILLAR
    start = (0.5, 0.5, math.pi)
    way = np.linspace((0.5, 0.5), (x, y), 100)
    assert not room.is_free(way).all(), "something must be in the way for this test to mean anything"
    path = lead(Expert("drive-to-target"), start, lambda readout: compass(readout, x, y), 40)
    distances = [math.hypot(readout.base_x_m - x, readout.base_y_m - y) for readout in path]
    assert min(distances) < SUCCESS_RADIUS_M
    assert min(math.hypot(readout.base_x_m - pillar.x, readout.base_y_m - pillar.y) for readout in path) < 1.0


def test_looking_brings_the_goal_to_the_middle_of_the_picture() -> None:
    azimuth, elevation = 1.0, 0.2

    def observe(readout: WorldReadout) -> Float32Array:
        turn = azimuth - math.atan2(readout.gaze[1], readout.gaze[0])
        tilt = elevation - math.asin(readout.gaze[2])
        return np.array([math.cos(turn), math.sin(turn), tilt / math.pi], np.float32)

    gaze = lead(Expert("look-at"), (0.0, 0.0, 0.0), observe, 8)[-1].gaze
    wanted = [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    assert float(gaze @ wanted) > math.cos(math.radians(3))


def test_postures_bring_a_hand_where_they_say() -> None:
    for point in ([0.5, 0.3, 0.85], [0.6, -0.2, 0.85], [3.0, 0.0, 0.8]):
        posture, gap_m = nearest_posture(np.array(point))
        hands = quantities(np.zeros((1, 3)), posture[None])[0, 9:].reshape(2, 3)
        assert np.linalg.norm(hands - point, axis=1).min() == pytest.approx(gap_m, abs=1e-4)
    assert nearest_posture(np.array([0.5, 0.3, 0.85]))[1] < 0.1
    assert gap_m > 2.0


def test_reaching_from_within_reach_moves_a_hand_and_no_wheel() -> None:
    cube = np.array([0.55, 0.15, 0.85])

    def observe(readout: WorldReadout) -> Float32Array:
        return np.concatenate([cube / 4.0, np.zeros(3)]).astype(np.float32)

    last = lead(Expert("reach-cube"), (0.0, 0.0, 0.0), observe, 4)[-1]
    assert min(np.linalg.norm(hand - cube) for hand in (last.left_hand_m, last.right_hand_m)) < 0.15
    assert (last.base_x_m, last.base_y_m) == (0.0, 0.0)


def test_goals_are_turned_to_the_left() -> None:
    readout = WorldReadout.from_vector([0.3, -0.2, 0.5, *np.zeros(12)])
    seen = turned(compass(readout, 2.0, 1.0), 0.4)
    # The same as for a robot that faces further to the right.
    other = WorldReadout.from_vector([0.3, -0.2, 0.1, *np.zeros(12)])
    np.testing.assert_allclose(seen, compass(other, 2.0, 1.0), atol=1e-6)
    double = turned(np.array([1, 0, 5, 0, 1, 6], np.float32), math.pi / 2)
    np.testing.assert_allclose(double, [0, 1, 5, -1, 0, 6], atol=1e-6)


@pytest.mark.parametrize(
    ("skill", "first_clip_turns"),
    [(Skill(), 1), (Skill(bias=-1.2), -1), (Skill(delay=1), 1)],
)
def test_flaws_show_in_what_is_done(skill: Skill, first_clip_turns: int) -> None:
    # The goal is 0.6 rad to the left: with a bias of -1.2 it seems as far to the right.
    expert = Expert("face-target", skill)
    expert.reset([0])
    goal = np.array([math.cos(0.6), math.sin(0.6), 0.5], np.float32)
    chunk = expert.act([{"state": REST_POSE, "goal": goal}])[0]
    assert np.sign(chunk[-1, -1]) == first_clip_turns


def test_delay_gain_and_noise() -> None:
    left, right = (np.array([math.cos(a), math.sin(a), 0.5], np.float32) for a in (0.3, -0.3))

    def turns(skill: Skill, seed: int = 0) -> list[float]:
        expert = Expert("face-target", skill)
        expert.reset([seed])
        return [expert.act([{"state": REST_POSE, "goal": goal}])[0, -1, -1] for goal in (left, right, right)]

    plain = turns(Skill())
    assert plain[0] > 0 > plain[1]
    assert turns(Skill(delay=1)) == [plain[0], plain[0], plain[1]]
    np.testing.assert_allclose(turns(Skill(gain=0.5)), np.array(plain) / 2, rtol=1e-5)
    noise = Skill(noise=0.3)
    assert turns(noise, 1) == turns(noise, 1) != turns(noise, 2)


@pytest.mark.parametrize("task", CONTROLLERS)
def test_worlds_do_not_depend_on_each_other(task: str) -> None:
    size = 6 if task == "reach-cube" else 3
    rng = np.random.default_rng(0)
    seen = [
        [{"state": REST_POSE, "goal": rng.uniform(-1, 1, size).astype(np.float32)} for _ in range(2)] for _ in "123"
    ]
    expert = Expert(task, Skill(noise=0.3, delay=1))
    expert.reset([4, 5])
    together = [expert.act(observations)[1] for observations in seen]
    expert.reset([5])
    alone = [expert.act(observations[1:])[0] for observations in seen]
    np.testing.assert_array_equal(together, alone)


def test_there_are_24_of_different_names() -> None:
    names = [one.name for one in graded_experts("face-target")]
    assert len(GRADES) == len(set(names)) == 24
    assert names[0] == "expert, perfect"
    assert "expert, noise 0.3, delay 1, gain 0.6" in names


def test_bad_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match="goal-image"):
        Expert("goal-image")
    with pytest.raises(InvalidInputError, match="delay"):
        Skill(delay=-1)
