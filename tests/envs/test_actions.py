from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.data.statistics import ActionStatistics
from hwm_env.envs.actions import ActionAdapter, ActionMode
from hwm_env.errors import InvalidInputError

LOW = np.linspace(-2, -0.5, 25, dtype=np.float32)
HIGH = np.linspace(0.5, 3, 25, dtype=np.float32)
MIDDLE = (LOW + HIGH) / 2


def statistics(low: np.ndarray = LOW, high: np.ndarray = HIGH, max_change: float = 0.1) -> ActionStatistics:
    change = np.full(25, max_change, np.float32)
    return ActionStatistics(mean=low, std=high, low=low, high=high, p01=low, p99=high, max_change=change)


def adapter(mode: ActionMode = "chunk", normalized: bool = False) -> ActionAdapter:
    return ActionAdapter(statistics(), mode, normalized)


def test_chunks_in_physical_units_pass_unchanged() -> None:
    space = adapter().space
    space.seed(0)
    action = space.sample()
    command = adapter().command(action, MIDDLE)
    assert command.chunk.dtype == np.float32
    np.testing.assert_array_equal(command.chunk, action)
    assert not command.clipped


def test_held_actions_arrive_after_ten_frames_and_stay() -> None:
    command = adapter("hold").command(HIGH, LOW)
    np.testing.assert_array_equal(command.chunk[9:], np.tile(HIGH, (8, 1)))
    way = (command.chunk - LOW) / (HIGH - LOW)
    # A minimum-jerk movement (Flash and Hogan, 1985) at a tenth, half and nine tenths of its time.
    np.testing.assert_allclose(way[[0, 4, 8]], np.outer([0.00856, 0.5, 0.99144], np.ones(25)), atol=1e-5)
    assert (np.diff(way, axis=0) >= 0).all()


def test_holding_what_is_does_not_move() -> None:
    command = adapter("hold").command(MIDDLE, MIDDLE)
    np.testing.assert_allclose(command.chunk, np.tile(MIDDLE, (17, 1)), atol=1e-6)
    assert command.ood == 0.0


@pytest.mark.parametrize(("value", "physical"), [(-1.0, LOW), (0.0, MIDDLE), (1.0, HIGH)])
def test_normalised_actions_are_mapped_to_the_bounds(value: float, physical: np.ndarray) -> None:
    command = adapter("hold", normalized=True).command(np.full(25, value, np.float32), MIDDLE)
    np.testing.assert_allclose(command.chunk[-1], physical, atol=1e-6)
    assert not command.clipped


@pytest.mark.parametrize("normalized", [False, True])
def test_actions_beyond_the_bounds_are_clipped_and_reported(normalized: bool) -> None:
    action = np.zeros((17, 25)) if normalized else np.tile(MIDDLE, (17, 1)).astype(np.float64)
    action[4, 3] = 1e300
    command = adapter(normalized=normalized).command(action, MIDDLE)
    assert command.clipped
    assert command.chunk[4, 3] == HIGH[3]
    np.testing.assert_allclose(np.delete(command.chunk, 4, axis=0), np.tile(MIDDLE, (16, 1)), atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), mode=st.sampled_from(["chunk", "hold"]), normalized=st.booleans())
def test_a_world_never_gets_anything_beyond_the_bounds(seed: int, mode: ActionMode, normalized: bool) -> None:
    rng = np.random.default_rng(seed)
    made = adapter(mode, normalized)
    command = made.command(rng.normal(scale=3, size=made.space.shape), rng.uniform(LOW, HIGH).astype(np.float32))
    assert command.chunk.shape == (17, 25)
    assert (command.chunk >= LOW - 1e-6).all()
    assert (command.chunk <= HIGH + 1e-6).all()
    assert 0 <= command.ood <= 1


def test_ood_counts_values_and_changes_that_the_data_never_showed() -> None:
    action = np.tile(MIDDLE, (17, 1))
    assert adapter().command(action, MIDDLE).ood == 0.0
    action[5:, 0] += 0.09
    assert adapter().command(action, MIDDLE).ood == 0.0
    action[5:, 0] += 0.02
    assert adapter().command(action, MIDDLE).ood == pytest.approx(1 / 425), "one jump"
    assert adapter().command(np.tile(MIDDLE, (17, 1)), MIDDLE + 0.2).ood == pytest.approx(25 / 425), "jump at the seam"
    slow = np.linspace(HIGH - 0.1, HIGH + 0.7, 17, dtype=np.float32)
    assert adapter().command(slow, slow[0]).ood == pytest.approx(14 / 17), "two of 17 frames are inside the range"


def test_numbers_that_never_changed_get_a_little_room() -> None:
    made = ActionAdapter(statistics(low=MIDDLE, high=MIDDLE), "hold", False)
    assert (made.space.low < made.space.high).all()
    np.testing.assert_allclose(made.space.high - made.space.low, 2e-3, atol=1e-6)


@pytest.mark.parametrize("mode", ["chunk", "hold"])
@pytest.mark.parametrize(
    "action",
    [
        pytest.param(np.zeros(24), id="short"),
        pytest.param(np.zeros((25, 17)), id="transposed"),
        pytest.param(np.zeros((1, 17, 25)), id="batched"),
        pytest.param(0.0, id="a number"),
        pytest.param(None, id="None"),
        pytest.param("forward", id="text"),
        pytest.param({"chunk": 1}, id="dict"),
        pytest.param([[0.0], [0.0, 1.0]], id="ragged"),
    ],
)
def test_other_shapes_are_refused(mode: ActionMode, action: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"expected (17 x )?25 finite numbers .*got"):
        adapter(mode).command(action, MIDDLE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    action = np.tile(MIDDLE, (17, 1))
    action[16, 24] = value
    with pytest.raises(InvalidInputError, match=rf"got {value} at index \[16, 24\]"):
        adapter().command(action, MIDDLE)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"action_mode.*chunk.*hold.*'joystick'"):
        ActionAdapter(statistics(), "joystick", False)
