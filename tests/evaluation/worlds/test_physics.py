"""Obstacles and counterfactual actions: worlds whose scores are known get them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.evaluation.worlds import counterfactuals, walls
from hwm_env.evaluation.worlds.closed_loops import Loops
from hwm_env.evaluation.worlds.counterfactuals import COMMANDS, measure_counterfactuals
from hwm_env.evaluation.worlds.walls import CLIPS, SPEED_M_S, drive, measure_walls
from hwm_env.reference import robot, room
from hwm_env.reference.rendering import can_render
from hwm_env.types import ACTION_NAMES

CLIPS_OF_EPISODE = 10
AT_THE_WALL = (3.0, 0.0, 0.0)
IN_THE_OPEN = (-2.0, -1.0, 0.0)


class Standing:
    """Episodes in which the robot stands still at a place each."""

    def __init__(self, *places: tuple[float, float, float], **numbers: float) -> None:
        self._poses = torch.tensor(places)[:, None].expand(-1, CLIPS_OF_EPISODE, -1)
        pose = torch.from_numpy(robot.pose(numbers))
        self.actions = pose.expand(len(places), CLIPS_OF_EPISODE, 17, 25)
        self.tokens = torch.zeros(len(places), CLIPS_OF_EPISODE, 3, 8, 8, dtype=torch.int32)

    def __len__(self) -> int:
        return len(self.tokens)

    def poses(self) -> Tensor:
        return self._poses


class Says:
    """A read-out that reads the same place from every clip."""

    def __init__(self, place: tuple[float, float]) -> None:
        self._place = torch.tensor(place, dtype=torch.float64)

    def read(self, tokens: Tensor) -> Tensor:
        return self._place.expand(len(tokens), 2)


class Still:
    """A simulator whose clips nobody looks at."""

    checkpoint = SimpleNamespace(image_size=64)
    tokenizer = SimpleNamespace(encode=lambda frames: frames)

    def __init__(self, *carried: tuple[float, float, float]) -> None:
        """Where each world believes to be at the end; nothing: they carry no pose."""
        self.carried = torch.tensor(carried)[:, None].expand(-1, 1 + CLIPS, -1) if carried else None


@pytest.fixture
def needs_rendering() -> None:
    if not can_render():
        pytest.skip("MuJoCo cannot make an OpenGL context on this machine")


@pytest.fixture
def _silent_world(needs_rendering: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        walls,
        "continue_worlds",
        lambda simulator, tokens, *_: Loops(tokens[:, :1].expand(-1, CLIPS, -1, -1, -1), simulator.carried),
    )


@pytest.mark.usefixtures("needs_rendering")
def test_a_drive_ends_where_the_base_touches_the_wall() -> None:
    with walls.ReferenceWorld(64) as world:
        chunks, frames, end = drive(world, np.array(AT_THE_WALL, np.float64), robot.REST_POSE)
        at_the_end = world.render()
    touching = room.HALF_SIZE_M - robot.BASE_RADIUS_M
    assert touching - SPEED_M_S / 30 < end[0] <= touching
    assert end[1] == end[2] == 0.0
    assert chunks.shape == (CLIPS, 17, 25)
    velocities = chunks[..., ACTION_NAMES.index("linear_velocity")].ravel()
    assert np.all(np.diff(velocities) >= 0)
    assert velocities[-1] == pytest.approx(SPEED_M_S)
    assert np.array_equal(chunks[-1, -1, :21], robot.REST_POSE[:21])
    assert np.array_equal(frames[-1], at_the_end)


@pytest.mark.usefixtures("_silent_world")
def test_a_world_with_walls_is_told_from_one_without() -> None:
    held_out = Standing(IN_THE_OPEN, AT_THE_WALL)
    stop = room.HALF_SIZE_M - robot.BASE_RADIUS_M
    stopped = measure_walls(Still(), Says((stop, 0.0)), held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert (stopped.judged_by, stopped.readout_right) == ("read-out", 1.0)
    assert (stopped.cases, stopped.right, stopped.ceiling_right) == (1, 1.0, 1.0)
    assert stopped.error_median_m == stopped.ceiling_median_m < SPEED_M_S / 30
    # 1 m/s^2 until the speed is reached.
    wheels = SPEED_M_S * (CLIPS * 17 / 30) - SPEED_M_S**2 / 2
    unstopped = AT_THE_WALL[0] + wheels
    through = measure_walls(Still(), Says((unstopped, 0.0)), held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert through.right == 0.0
    assert through.unstopped_median_m == stopped.unstopped_median_m
    assert through.error_median_m == pytest.approx(through.unstopped_median_m, abs=0.02)


@pytest.mark.usefixtures("_silent_world")
def test_a_carried_pose_is_believed_before_the_read_out() -> None:
    held_out, stop = Standing(AT_THE_WALL, AT_THE_WALL), room.HALF_SIZE_M - robot.BASE_RADIUS_M
    right, unknown, wrong = (stop, 0.0, 0.0), (np.nan,) * 3, Says((0.0, 0.0))
    told = measure_walls(Still(right, right), wrong, held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert (told.judged_by, told.right, told.readout_right, told.ceiling_right) == ("carried pose", 1.0, 0.0, 0.0)
    assert told.error_p90_m < SPEED_M_S / 30
    lost = measure_walls(Still(right, unknown), wrong, held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert (lost.cases, lost.right) == (2, 0.5)
    unread = measure_walls(Still(right, unknown), None, held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert (unread.cases, unread.right, unread.readout_right, unread.ceiling_median_m) == (1, 1.0, None, None)
    with pytest.raises(InvalidInputError, match="neither a read-out nor a scene"):
        measure_walls(Still(), None, held_out, cases=5, seed=0)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="all 2 carried poses are unknown"):
        measure_walls(Still(unknown, unknown), None, held_out, cases=5, seed=0)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_silent_world")
def test_without_an_obstacle_ahead_there_is_no_case() -> None:
    with pytest.raises(DatasetError, match="none of 1 episodes comes before an obstacle"):
        measure_walls(Still(), Says((0.0, 0.0)), Standing(IN_THE_OPEN), cases=5, seed=0)  # type: ignore[arg-type]


class Actor:
    """A simulator that shows what the reference world shows, for the actions that it chooses to obey."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, obeys: list[int]) -> None:
        self.checkpoint = SimpleNamespace(image_size=64)
        self.scene = None
        self.tokenizer = self
        self.device = "cpu"
        self._obeys = obeys
        truth = counterfactuals._true_clips

        def remembered(*args: object) -> tuple[np.ndarray, Tensor]:
            measured, self._frames = truth(*args)  # type: ignore[arg-type]
            return measured, self._frames

        monkeypatch.setattr(counterfactuals, "_true_clips", remembered)
        loops = Loops(torch.zeros(len(COMMANDS), 1), None)
        monkeypatch.setattr(counterfactuals, "continue_worlds", lambda *args, poses: loops)

    def decode(self, tokens: Tensor) -> Tensor:
        return self._frames[self._obeys]


@pytest.mark.usefixtures("needs_rendering")
def test_an_obedient_world_is_always_right(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Actor(monkeypatch, list(range(len(COMMANDS))))
    told = measure_counterfactuals(world, Standing(IN_THE_OPEN, IN_THE_OPEN), starts=2, seed=0)  # type: ignore[arg-type]
    assert (told.starts, told.right) == (2, 1.0)
    assert set(told.right_by_action.values()) == {1.0}
    assert not any(told.confused_with.values())


@pytest.mark.usefixtures("needs_rendering")
def test_a_world_that_never_moves_is_right_once_in_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Actor(monkeypatch, [0] * len(COMMANDS))
    told = measure_counterfactuals(world, Standing(IN_THE_OPEN), starts=1, seed=0)  # type: ignore[arg-type]
    assert told.right == pytest.approx(1 / 7)
    assert told.right_by_action == {name: float(name == "stay") for name in COMMANDS}
    assert told.confused_with == {name: {} if name == "stay" else {"stay": 1} for name in COMMANDS}


@pytest.mark.parametrize(
    "held_out",
    [
        Standing(IN_THE_OPEN, left_shoulder_pitch=1.0),
        Standing((3.4, 0.0, 0.0)),
        Standing(IN_THE_OPEN, linear_velocity=0.3),
    ],
    ids=["an arm is up", "nowhere to go", "it drives"],
)
def test_only_moments_that_suit_all_actions_are_starts(held_out: Standing) -> None:
    with pytest.raises(DatasetError, match="rests before free space"):
        measure_counterfactuals(None, held_out, starts=1, seed=0)  # type: ignore[arg-type]


@pytest.mark.usefixtures("needs_rendering")
def test_the_true_clips_show_and_measure_what_was_commanded() -> None:
    with counterfactuals.ReferenceWorld(64) as world:
        measured, frames = counterfactuals._true_clips(world, np.array(IN_THE_OPEN, np.float64), robot.REST_POSE)
    names = list(COMMANDS)
    last = measured[:, -1]
    assert last[names.index("left"), ACTION_NAMES.index("angular_velocity")] == pytest.approx(0.6)
    assert last[names.index("forward"), ACTION_NAMES.index("linear_velocity")] == pytest.approx(0.5)
    # Half a second at 1.5 rad/s.
    raised = last[names.index("left_arm_up"), ACTION_NAMES.index("left_shoulder_pitch")]
    assert raised == pytest.approx(1.5 * 17 / 30, rel=1e-5)
    assert np.array_equal(last[names.index("stay")], robot.REST_POSE)
    left, right = frames[names.index("left_arm_up")].float(), frames[names.index("right_arm_up")].float()
    stay = frames[names.index("stay")].float()
    assert (left - stay)[-1, :, :32].abs().sum() > (left - stay)[-1, :, 32:].abs().sum()
    assert (right - stay)[-1, :, :32].abs().sum() < (right - stay)[-1, :, 32:].abs().sum()
    assert torch.equal(frames[0, 0], frames[0, -1])
