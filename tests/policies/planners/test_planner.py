"""Plans in a world with one coordinate, whose best plan is known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwm_env.errors import InvalidInputError
from hwm_env.reference import robot
from hwm_env.reference.kinematics import LARGEST_CHANGE
from hwm_env.types import FRAMES_PER_CLIP, LINEAR_VELOCITY
from policies.planners import planner as planner_module
from policies.planners.imagination import DISCOUNT, Caution, Imagination
from policies.planners.knots import Knots
from policies.planners.planner import Plan, PlannerConfig, make_plan
from policies.planners.search import make_search
from tests.policies.planners.worlds import Arrive, Line, Place

START: Any = Place(0.0, np.tile(robot.REST_POSE, (FRAMES_PER_CLIP, 1)))
DRIVE = ("linear_velocity",)


def plan(goal: Any, world: Any = None, search: str = "cem", last: Plan | None = None, **options: Any) -> Plan:
    config = PlannerConfig(**{"horizon": 3, "knots": 3, "samples": 40, "iterations": 4, **options})
    return make_plan(
        world or Line(),
        START,
        goal,
        0,
        knots=Knots(DRIVE, config.horizon, config.knots, robot.ACTION_LOW, robot.ACTION_HIGH, LARGEST_CHANGE),
        search=make_search(search, DRIVE),
        config=config,
        rng=np.random.default_rng(0),
        last=last,
    )


def test_worth_is_the_discounted_return_until_the_end() -> None:
    chunks = np.zeros((3, 4, FRAMES_PER_CLIP, 25), np.float32)
    chunks[:, :, :, LINEAR_VELOCITY] = np.array([[0.5, 0.5, 0.5, 0.5], [0.0, 0.1, 0.2, 0.0], [-0.2, 0, 0, 0]])[
        ..., None
    ]
    goal: Any = Arrive(1.0)
    imagination = Imagination(Line(), START, goal, 0, Caution(), [0])  # type: ignore[arg-type]
    expected = []
    for row in chunks[:, :, 0, LINEAR_VELOCITY]:
        x, worth = 0.0, 0.0
        for step, velocity in enumerate(row):
            gain = abs(x - 1.0) - abs(x + velocity - 1.0)
            x += velocity
            worth += DISCOUNT**step * (gain + (5.0 if abs(x - 1.0) <= 0.05 else 0.0))
            if abs(x - 1.0) <= 0.05:
                break
        expected.append(worth)
    np.testing.assert_allclose(imagination.worth(chunks), expected, atol=1e-6)
    assert imagination.clips == 2 + 4 + 4  # The first plan arrives after two.


def test_cautious_worth_weighs_futures_and_confidence() -> None:
    chunks = np.zeros((2, 2, FRAMES_PER_CLIP, 25), np.float32)
    seeds, goal = [3, 4, 5], Arrive(9.0)
    single: Any = [
        Imagination(Line(0.3), Place(0.0, START.measured, seed), goal, 0, Caution(), [0]).worth(chunks)  # type: ignore[arg-type]
        for seed in seeds
    ]
    caution = Caution(futures=3, pessimism=0.5, distrust=2.0)
    worth = Imagination(Line(0.3), START, goal, 0, caution, seeds).worth(chunks)  # type: ignore[arg-type]
    np.testing.assert_allclose(worth, np.mean(single, 0) - 0.5 * np.std(single, 0) + 2.0 * START.confidence)
    assert np.std(single, 0).min() > 0


@pytest.mark.parametrize("search", ["cem", "icem", "mppi"])
def test_a_plan_arrives_where_it_should(search: str) -> None:
    made = plan(Arrive(0.7), search=search)
    assert made.worth > 5.0
    x = np.cumsum(made.chunks[:, :, LINEAR_VELOCITY].mean(1))
    assert np.abs(x - 0.7).min() <= 0.05
    assert made.clips <= 4 * 40 * 3
    backwards = plan(Arrive(-0.7), search=search)
    assert backwards.chunks[0, :, LINEAR_VELOCITY].mean() < 0


def test_planning_goes_on_from_the_plan_before() -> None:
    first = plan(Arrive(50.0), iterations=8)
    again = plan(Arrive(50.0), iterations=1, samples=2, last=first)
    fresh = plan(Arrive(50.0), iterations=1, samples=2)
    assert again.worth > fresh.worth


def test_time_ends_the_search_but_not_before_it_has_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 0.03, 0.08, 0.2])
    monkeypatch.setattr(planner_module, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    assert plan(Arrive(1.0), budget_ms=100.0, iterations=50).iterations == 3
    late = iter([0.0, 9.0])
    monkeypatch.setattr(planner_module, "time", SimpleNamespace(monotonic=lambda: next(late)))
    assert plan(Arrive(1.0), budget_ms=100.0).iterations == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"samples": 1}, "samples must be at least 2"), ({"budget_ms": 0.0}, "budget_ms must be above 0 or None")],
)
def test_bad_settings_name_the_field(changes: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        PlannerConfig(**changes)
    with pytest.raises(InvalidInputError, match="futures must be at least 1"):
        Caution(futures=0)
