"""What holds for all tasks of the reference room, played in the reference world with exact read-outs."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot, room
from hwm_env.reference.body import quantities
from hwm_env.reference.kinematics import RobotState
from hwm_env.tasks.base import Goal, Task, TaskView, WorldReadout
from hwm_env.tasks.drive_to_target import DriveToTarget, DriveToTargetGoal
from hwm_env.tasks.face_target import FaceTarget, FaceTargetGoal
from hwm_env.tasks.look_at import LookAt, LookAtGoal
from hwm_env.tasks.reach_cube import ReachCube, ReachCubeGoal
from hwm_env.tasks.registry import kind_of, make_task
from hwm_env.types import ACTION_NAMES
from tests.tasks.playing import (
    Numbers,
    Route,
    Script,
    SeenMoment,
    bearing,
    begin,
    moment_at,
    moment_of,
    play,
    random_script,
    random_state,
    turn_by,
)

TASKS: list[Task] = [DriveToTarget(), FaceTarget(), LookAt(), ReachCube()]
all_tasks = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def drive(goal: DriveToTargetGoal) -> Script:
    return Route((goal.x_m, goal.y_m)).drive


def face(goal: FaceTargetGoal) -> Script:
    return lambda state: turn_by(bearing(state, (goal.x_m, goal.y_m)))


def look(goal: LookAtGoal) -> Script:
    def script(state: RobotState) -> Numbers:
        readout = quantities(state.base_pose[None], state.action[None])[0]
        towards = np.array(goal.centre_m) - readout[3:6]
        tilt = math.asin(towards[2] / np.linalg.norm(towards)) - math.asin(readout[8])
        return {**turn_by(bearing(state, goal.centre_m[:2])), "neck_pitch": state.action[20] - tilt}

    return script


def reach(goal: ReachCubeGoal) -> Script:
    """Drives to the nearest place to the cube that the base can stand at, faces it, and bends down to it."""
    cube = np.array(goal.centre_m)
    ticks = np.arange(-39, 40) * 0.1
    floor = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    free = floor[room.is_free(floor, margin_m=0.03)]
    stand = tuple(free[np.argmin(np.linalg.norm(free - cube[:2], axis=1))].tolist())
    route, bent = Route(stand), _arm_towards(float(np.linalg.norm(np.array(stand) - cube[:2])), cube[2])

    def script(state: RobotState) -> Numbers:
        if math.dist(state.base_pose[:2], stand) > 0.08:
            return route.drive(state)
        turn = bearing(state, goal.centre_m[:2])
        return {**turn_by(turn), **(bent if abs(turn) < 0.1 else {})}

    return script


def _arm_towards(distance_m: float, height_m: float) -> Numbers:
    """A pose of legs and left arm that brings the hand to a place straight ahead: the best of many random ones."""
    joints = [name for name in ACTION_NAMES if name.startswith("left_") and "closure" not in name]
    joints += ["hip_pitch", "ankle_pitch"]
    columns = [ACTION_NAMES.index(name) for name in joints]
    tried = np.tile(robot.REST_POSE, (20_000, 1))
    rng = np.random.default_rng(0)
    tried[:, columns] = rng.uniform(robot.ACTION_LOW[columns], robot.ACTION_HIGH[columns], (len(tried), len(columns)))
    hands = quantities(np.zeros((len(tried), 3)), tried)[:, 9:12]
    best = tried[np.argmin(np.linalg.norm(hands - [distance_m, 0.0, height_m], axis=1))]
    return dict(zip(joints, best[columns].tolist(), strict=True))


SCRIPTS: dict[str, Callable[..., Script]] = {
    "drive-to-target": drive,
    "face-target": face,
    "look-at": look,
    "reach-cube": reach,
}


def measure_of(goal: Goal) -> Callable[[TaskView], float]:
    """What a goal's progress is the shrinking of."""
    for name in ("distance_m", "turn_rad", "angle_rad"):
        if hasattr(goal, name):
            return getattr(goal, name)
    raise AssertionError(goal)


@pytest.mark.slow
@all_tasks
@pytest.mark.parametrize("seed", range(5))
def test_a_script_reaches_the_goal(task: Task, seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = random_state(rng)
    goal = begin(task, moment_of(start), seed)
    played = play(goal, start, SCRIPTS[task.name](goal))
    assert played.success
    assert [outcome.success for outcome in played.outcomes[:-1]] == [False] * (len(played.outcomes) - 1)
    assert played.total("success") == 5.0
    measure = measure_of(goal)
    assert played.total("progress") == pytest.approx(measure(played.moments[0]) - measure(played.moments[-1]), abs=1e-5)
    assert all(goal.observe(moment) in task.goal_space(64) for moment in played.moments)


@pytest.mark.slow
@all_tasks
def test_random_actions_seldom_do(task: Task) -> None:
    """A head that shakes may happen to look at something."""
    lucky = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        start = random_state(rng)
        played = play(begin(task, moment_of(start), seed), start, random_script(rng))
        assert played.success or len(played.outcomes) == 40
        assert played.total("success") == 5.0 * played.success
        lucky += played.success
    assert lucky <= 1


@all_tasks
def test_the_reward_is_the_sum_of_its_terms_and_no_time_counts(task: Task) -> None:
    goal = begin(task, moment_at(0, 0, 0), 3)
    before, after = moment_at(0, 0, 1.0), moment_at(0.4, 0.2, 1.3)
    outcome = goal.evaluate(before, after, 1)
    assert outcome == goal.evaluate(before, after, 30)
    assert outcome.reward == pytest.approx(sum(outcome.reward_terms.values()))
    assert outcome.reward_terms.keys() == {"progress", "success"}
    back = goal.evaluate(after, before, 2)
    assert back.reward_terms["progress"] == pytest.approx(-outcome.reward_terms["progress"], abs=1e-6)


@all_tasks
def test_named_goals_are_taken(task: Task) -> None:
    for name in task.choices:
        described = begin(task, moment_at(0, 0, 0), **{task.option: name}).describe()
        assert described[task.option] == name
        assert all(value.dtype == np.float32 for key, value in described.items() if key != task.option)


@all_tasks
@pytest.mark.parametrize("value", ["kitchen", 3, None, ["sofa"], np.zeros(2)])
def test_other_goals_are_refused(task: Task, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"{task.option} must be one of .*{min(task.choices)}"):
        task.check_options({task.option: value})


@all_tasks
def test_naming_a_goal_draws_as_many_numbers(task: Task) -> None:
    """So that equal seeds mean equal episodes after this one, too."""
    rngs = []
    for options in ({}, {task.option: next(iter(task.choices))}):
        rng = np.random.default_rng(0)
        begin(task, moment_at(0, 0, 0), rng, **options)
        rngs.append(rng)
    assert rngs[0].bit_generator.state == rngs[1].bit_generator.state


@all_tasks
def test_equal_seeds_choose_equal_goals_and_all_get_their_turn(task: Task) -> None:
    moments = [moment_of(random_state(np.random.default_rng(seed))) for seed in range(80)]
    goals = [begin(task, moment, seed) for seed, moment in enumerate(moments)]
    assert goals == [begin(task, moment, seed) for seed, moment in enumerate(moments)]
    assert {goal.describe()[task.option] for goal in goals} == set(task.choices)


@all_tasks
def test_what_is_seen_from_the_robot_does_not_depend_on_where_the_room_is(task: Task) -> None:
    """Robot and goal moved and turned together: equal observations and rewards."""
    goal = begin(task, moment_at(0.2, -0.3, 0.4), 1)
    moments = [moment_at(0.2, -0.3, 0.4, neck_pitch=0.5), moment_at(0.4, 0.1, 0.9, left_shoulder_pitch=1.0)]
    moved_goal, moved = _moved_goal(goal), [_moved(moment) for moment in moments]
    for here, there in zip(moments, moved, strict=True):
        np.testing.assert_allclose(moved_goal.observe(there), goal.observe(here), atol=1e-5)
    outcome, moved_outcome = goal.evaluate(*moments, 1), moved_goal.evaluate(*moved, 1)
    assert moved_outcome.reward == pytest.approx(outcome.reward, abs=1e-5)
    assert moved_outcome.success == outcome.success


@all_tasks
def test_lost_robots_get_goals_inside_the_space_too(task: Task) -> None:
    lost = WorldReadout.from_vector([1e3, -1e3, 9.0, -1e3, 1e3, 50, 0, 0, -1, 1e3, 1e3, 1e3, -1e3, 1e3, -1e3])
    moment = SeenMoment(lost, np.zeros((17, 25), np.float32))
    assert begin(task, moment).observe(moment) in task.goal_space(64)


TURN_RAD, SHIFT_M = 0.8, np.array([1.0, -2.0, 0.0])
ROTATION = np.array(
    [[math.cos(TURN_RAD), -math.sin(TURN_RAD), 0], [math.sin(TURN_RAD), math.cos(TURN_RAD), 0], [0, 0, 1]]
)


def _moved(moment: TaskView) -> TaskView:
    readout = moment.readout
    x, y, _ = ROTATION @ [readout.base_x_m, readout.base_y_m, 0] + SHIFT_M
    points = [ROTATION @ point + SHIFT_M for point in (readout.head_m, readout.left_hand_m, readout.right_hand_m)]
    yaw = readout.base_yaw_rad + TURN_RAD
    vector = np.concatenate([[x, y, yaw], points[0], ROTATION @ readout.gaze, points[1], points[2]])
    return SeenMoment(WorldReadout.from_vector(vector), moment.measured)


def _moved_goal(goal: Goal) -> Goal:
    if isinstance(goal, DriveToTargetGoal | FaceTargetGoal):
        x, y, _ = ROTATION @ [goal.x_m, goal.y_m, 0] + SHIFT_M
        return type(goal)(landmark=goal.landmark, x_m=x, y_m=y)
    centre = tuple((ROTATION @ goal.centre_m + SHIFT_M).tolist())
    if isinstance(goal, LookAtGoal):
        return LookAtGoal(landmark=goal.landmark, centre_m=centre)
    return ReachCubeGoal(cube=goal.cube, centre_m=centre)


@all_tasks
def test_a_task_can_be_about_one_thing(task: Any) -> None:
    """Then all episodes have this goal, wherever they begin, and the option that would name another is unknown."""
    for thing in task.choices:
        named: Any = make_task(f"{task.name}:{thing}")
        assert (named.name, kind_of(named.name), named.option_names) == (f"{task.name}:{thing}", task.name, ())
        for seed in range(3):
            state = random_state(np.random.default_rng(seed))
            assert thing in begin(named, moment_of(state), seed).describe().values()
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    begin(named, moment_of(state), rng)
    begin(task, moment_of(state), other)
    assert rng.random() == other.random(), "equal seeds mean equal episodes afterwards"


@pytest.mark.parametrize("name", ["face-target:", "face-target:moon", "goal-image:door", "fly:door", ":door"])
def test_things_that_no_task_is_about_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"task must be one of|can be about one of \['banner'"):
        make_task(name)
