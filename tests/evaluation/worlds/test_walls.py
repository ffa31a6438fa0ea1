"""Drives against obstacles, in worlds whose scores are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from hwm_env.errors import DatasetError, InvalidInputError
from hwm_env.evaluation.worlds import walls
from hwm_env.evaluation.worlds.closed_loops import Loops
from hwm_env.evaluation.worlds.walls import CLIPS, SPEED_M_S, drive, measure_walls
from hwm_env.reference import robot, room
from hwm_env.types import ACTION_NAMES
from tests.evaluation.worlds.standing import AT_THE_WALL, IN_THE_OPEN, Standing


class Constant:
    """A read-out that reads the same place from every clip."""

    def __init__(self, place: tuple[float, float]) -> None:
        self._place = torch.tensor(place, dtype=torch.float64)

    def read(self, tokens: Tensor) -> Tensor:
        return self._place.expand(len(tokens), 2)


class Still:
    """A simulator whose clips are not decoded."""

    checkpoint = SimpleNamespace(image_size=64)
    tokenizer = SimpleNamespace(encode=lambda frames: frames)

    def __init__(self, *carried: tuple[float, float, float]) -> None:
        """Uses a carried pose for each world at the end; without any, there is no scene."""
        self.carried = torch.tensor(carried)[:, None].expand(-1, 1 + CLIPS, -1) if carried else None


@pytest.fixture
def _constant_world(needs_rendering: None, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.usefixtures("_constant_world")
def test_worlds_with_and_without_walls_have_different_scores() -> None:
    held_out = Standing(IN_THE_OPEN, AT_THE_WALL)
    stop = room.HALF_SIZE_M - robot.BASE_RADIUS_M
    stopped = measure_walls(Still(), Constant((stop, 0.0)), held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert (stopped.judged_by, stopped.readout_right) == ("read-out", 1.0)
    assert (stopped.cases, stopped.right, stopped.ceiling_right) == (1, 1.0, 1.0)
    assert stopped.error_median_m == stopped.ceiling_median_m < SPEED_M_S / 30
    # An acceleration of 1 m/s^2 to the largest speed.
    wheels = SPEED_M_S * (CLIPS * 17 / 30) - SPEED_M_S**2 / 2
    unstopped = AT_THE_WALL[0] + wheels
    through = measure_walls(Still(), Constant((unstopped, 0.0)), held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert through.right == 0.0
    assert through.unstopped_median_m == stopped.unstopped_median_m
    assert through.error_median_m == pytest.approx(through.unstopped_median_m, abs=0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("_constant_world")
def test_the_carried_pose_has_priority_over_the_read_out() -> None:
    held_out, stop = Standing(AT_THE_WALL, AT_THE_WALL), room.HALF_SIZE_M - robot.BASE_RADIUS_M
    right, unknown, wrong = (stop, 0.0, 0.0), (np.nan,) * 3, Constant((0.0, 0.0))
    result = measure_walls(Still(right, right), wrong, held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert (result.judged_by, result.right, result.readout_right, result.ceiling_right) == (
        "carried pose",
        1.0,
        0.0,
        0.0,
    )
    assert result.error_p90_m < SPEED_M_S / 30
    lost = measure_walls(Still(right, unknown), wrong, held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert (lost.cases, lost.right) == (2, 0.5)
    unread = measure_walls(Still(right, unknown), None, held_out, cases=5, seed=0)  # type: ignore[arg-type]
    assert (unread.cases, unread.right, unread.readout_right, unread.ceiling_median_m) == (1, 1.0, None, None)
    with pytest.raises(InvalidInputError, match="neither a read-out nor a scene"):
        measure_walls(Still(), None, held_out, cases=5, seed=0)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="all 2 carried poses are unknown"):
        measure_walls(Still(unknown, unknown), None, held_out, cases=5, seed=0)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_constant_world")
def test_without_an_obstacle_ahead_there_is_no_case() -> None:
    with pytest.raises(DatasetError, match="none of 1 episodes comes before an obstacle"):
        measure_walls(Still(), Constant((0.0, 0.0)), Standing(IN_THE_OPEN), cases=5, seed=0)  # type: ignore[arg-type]
