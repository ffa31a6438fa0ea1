"""The pace of a run: counted steps as before, and minutes on a clock that the test moves."""

import time

import pytest

from hwm_env.training.runs.pace import Pace
from hwm_env.training.runs.schedule import Recipe


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_counted_steps_are_positions() -> None:
    pace = Pace(Recipe(steps=5))
    assert [(step, pace.position) for step in pace.steps(2, "test", silent=True)] == [(2, 2.0), (3, 3.0), (4, 4.0)]
    assert pace.is_over(5)


def test_minutes_end_a_run_and_stretch_its_schedule(clock: Clock) -> None:
    recipe = Recipe(steps=11, warmup_steps=2, hold_share=0.5, minutes=0.5)
    pace = Pace(recipe)
    positions, shares = [], []
    for _ in pace.steps(0, "test", silent=True):
        positions.append(pace.position)
        shares.append(recipe.share_at(pace.position))
        clock.now_s += 4.0
    assert positions == pytest.approx([10 * 4 * step / 30 for step in range(8)])
    assert shares[0] == recipe.share_at(0)
    assert shares[1] == shares[2] == shares[3] == 1.0
    assert shares[-1] < 0.1


def test_a_resumed_run_has_the_rest_of_the_time(clock: Clock) -> None:
    recipe = Recipe(steps=100, minutes=1.0)
    pace = Pace(recipe)
    for step in pace.steps(0, "test", silent=True):
        if step == 3:
            break
        clock.now_s += 10.0
    state = pace.state_dict()
    assert state == {"used_s": 30.0}
    clock.now_s += 5000.0
    resumed = Pace(recipe)
    resumed.load_state_dict(state)
    positions = []
    for _ in resumed.steps(3, "test", silent=True):
        positions.append(resumed.position)
        clock.now_s += 10.0
    assert positions == pytest.approx([99 * share for share in (0.5, 4 / 6, 5 / 6)])


def test_processes_follow_the_first_ones_clock(clock: Clock) -> None:
    pace = Pace(Recipe(steps=10, minutes=1.0), agreed=lambda seconds: 59.0 if seconds < 1000 else 60.0)
    steps = []
    for step in pace.steps(0, "test", silent=True):
        steps.append(step)
        clock.now_s += 600.0
    assert steps == [0, 1]
