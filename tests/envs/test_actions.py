from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.data.statistics import ActionStatistics
from hwm_env.envs.actions import ActionAdapter, ActionMode
from hwm_env.envs.config import EnvConfig
from hwm_env.errors import InvalidInputError
from hwm_env.types import ACTION_NAMES

LOW = np.linspace(-2, -0.5, 25, dtype=np.float32)
HIGH = np.linspace(0.5, 3, 25, dtype=np.float32)
MIDDLE = (LOW + HIGH) / 2


def statistics(low: np.ndarray = LOW, high: np.ndarray = HIGH, max_change: float = 0.1) -> ActionStatistics:
    change = np.full(25, max_change, np.float32)
    return ActionStatistics(mean=low, std=high - low, low=low, high=high, p01=low, p99=high, max_change=change)


def adapter(mode: ActionMode = "chunk", normalized: bool = False) -> ActionAdapter:
    return ActionAdapter(statistics(), mode, normalized)


def test_chunks_in_physical_units_pass_unchanged() -> None:
    space = adapter().space
    space.seed(0)
    action = space.sample()
    adapted = adapter().adapt(action, MIDDLE)
    assert adapted.chunk.dtype == np.float32
    np.testing.assert_array_equal(adapted.chunk, action)
    assert not adapted.clipped


def test_held_actions_arrive_after_ten_frames_and_stay() -> None:
    adapted = adapter("hold").adapt(HIGH, LOW)
    np.testing.assert_array_equal(adapted.chunk[9:], np.tile(HIGH, (8, 1)))
    way = (adapted.chunk - LOW) / (HIGH - LOW)
    # A minimum-jerk movement (Flash and Hogan, 1985) at a tenth, half and nine tenths of its time.
    np.testing.assert_allclose(way[[0, 4, 8]], np.outer([0.00856, 0.5, 0.99144], np.ones(25)), atol=1e-5)
    assert (np.diff(way, axis=0) >= 0).all()


def test_holding_what_is_does_not_move() -> None:
    adapted = adapter("hold").adapt(MIDDLE, MIDDLE)
    np.testing.assert_allclose(adapted.chunk, np.tile(MIDDLE, (17, 1)), atol=1e-6)
    assert adapted.ood == 0.0


@pytest.mark.parametrize(("value", "physical"), [(-1.0, LOW), (0.0, MIDDLE), (1.0, HIGH)])
def test_normalised_actions_are_mapped_to_the_bounds(value: float, physical: np.ndarray) -> None:
    adapted = adapter("hold", normalized=True).adapt(np.full(25, value, np.float32), MIDDLE)
    np.testing.assert_allclose(adapted.chunk[-1], physical, atol=1e-6)
    assert not adapted.clipped


@pytest.mark.parametrize("normalized", [False, True])
def test_actions_beyond_the_bounds_are_clipped_and_reported(normalized: bool) -> None:
    action = np.zeros((17, 25)) if normalized else np.tile(MIDDLE, (17, 1)).astype(np.float64)
    action[4, 3] = 1e300
    adapted = adapter(normalized=normalized).adapt(action, MIDDLE)
    assert adapted.clipped
    assert adapted.chunk[4, 3] == HIGH[3]
    np.testing.assert_allclose(np.delete(adapted.chunk, 4, axis=0), np.tile(MIDDLE, (16, 1)), atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), mode=st.sampled_from(["chunk", "hold", "delta"]), normalized=st.booleans())
def test_a_world_never_gets_anything_beyond_the_bounds(seed: int, mode: ActionMode, normalized: bool) -> None:
    rng = np.random.default_rng(seed)
    made = adapter(mode, normalized)
    adapted = made.adapt(rng.normal(scale=3, size=made.space.shape), rng.uniform(LOW, HIGH).astype(np.float32))
    assert adapted.chunk.shape == (17, 25)
    assert (adapted.chunk >= LOW - 1e-6).all()
    assert (adapted.chunk <= HIGH + 1e-6).all()
    assert 0 <= adapted.ood <= 1


def test_ood_counts_values_and_changes_that_the_data_never_showed() -> None:
    action = np.tile(MIDDLE, (17, 1))
    assert adapter().adapt(action, MIDDLE).ood == 0.0
    action[5:, 0] += 0.09
    assert adapter().adapt(action, MIDDLE).ood == 0.0
    action[5:, 0] += 0.02
    assert adapter().adapt(action, MIDDLE).ood == pytest.approx(1 / 425), "one jump"
    assert adapter().adapt(np.tile(MIDDLE, (17, 1)), MIDDLE + 0.2).ood == pytest.approx(25 / 425), "jump at the seam"
    slow = np.linspace(HIGH - 0.1, HIGH + 0.7, 17, dtype=np.float32)
    assert adapter().adapt(slow, slow[0]).ood == pytest.approx(14 / 17), "two of 17 frames are inside the range"


def test_numbers_that_never_changed_get_a_little_room() -> None:
    made = ActionAdapter(statistics(low=MIDDLE, high=MIDDLE), "hold", False)
    assert (made.space.low < made.space.high).all()
    np.testing.assert_allclose(made.space.high - made.space.low, 2e-3, atol=1e-6)


@pytest.mark.parametrize("mode", ["chunk", "hold", "delta"])
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
        adapter(mode).adapt(action, MIDDLE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    action = np.tile(MIDDLE, (17, 1))
    action[16, 24] = value
    with pytest.raises(InvalidInputError, match=rf"got {value} at index \[16, 24\]"):
        adapter().adapt(action, MIDDLE)


@given(seed=st.integers(0, 2**32 - 1))
def test_deltas_never_move_faster_than_the_data(seed: int) -> None:
    rng = np.random.default_rng(seed)
    last = rng.uniform(LOW, HIGH).astype(np.float32)
    adapted = adapter("delta").adapt(rng.uniform(-1.7, 1.7, 25), last)
    assert np.abs(np.diff(adapted.chunk, axis=0, prepend=last[None])).max() <= 0.1 + 1e-6
    assert adapted.ood == 0.0 or adapted.clipped


def test_a_delta_is_spread_evenly_over_the_step() -> None:
    made = adapter("delta")
    np.testing.assert_allclose(made.space.high, 17 * 0.1, rtol=1e-6)
    np.testing.assert_allclose(made.space.low, -17 * 0.1, rtol=1e-6)
    adapted = made.adapt(np.full(25, 0.17), MIDDLE)
    np.testing.assert_allclose(adapted.chunk - MIDDLE, np.tile(0.01 * np.arange(1, 18)[:, None], 25), atol=1e-6)
    assert not adapted.clipped


def test_normalised_deltas_reach_as_far_as_the_fastest_motion() -> None:
    adapted = adapter("delta", normalized=True).adapt(np.full(25, -0.1), MIDDLE)
    np.testing.assert_allclose(adapted.chunk[-1], MIDDLE - 0.17, atol=1e-6)


def test_deltas_stop_at_the_bounds_and_say_so() -> None:
    adapted = adapter("delta").adapt(np.full(25, 1.0), HIGH - np.float32(0.17))
    np.testing.assert_allclose(adapted.chunk[-1], HIGH, atol=1e-6)
    np.testing.assert_allclose(adapted.chunk[0], HIGH - 0.16, atol=1e-6)
    assert adapted.clipped


def test_excess_is_named_by_joint() -> None:
    action = np.tile(MIDDLE, (17, 1))
    action[:, 20] = HIGH[20] + 0.5
    adapted = adapter().adapt(action, MIDDLE)
    # The standard deviation of these statistics is HIGH; the jump into the first frame is larger than that.
    jump = (HIGH[20] + 0.5 - MIDDLE[20]) / 0.1 - 1
    assert adapted.ood_joints == {"neck_pitch": pytest.approx(max(0.5 / HIGH[20], jump), rel=1e-5)}


@pytest.mark.parametrize(("mode", "action"), [("chunk", np.tile(HIGH + 1, (17, 1))), ("hold", HIGH + 1)])
def test_what_the_data_never_showed_can_be_refused(mode: ActionMode, action: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match=r"hip_yaw would be 1.5, .*nearest allowed value is 0.5"):
        ActionAdapter(statistics(), mode, False, "refuse").adapt(action, MIDDLE)
    assert not ActionAdapter(statistics(), mode, False, "refuse").adapt(action - 1, MIDDLE).clipped


def test_deltas_beyond_the_fastest_motion_can_be_refused() -> None:
    with pytest.raises(InvalidInputError, match="beyond the bounds"):
        ActionAdapter(statistics(), "delta", False, "refuse").adapt(np.full(25, 1.8), LOW)


# Some of the numbers only

SPEED, NECK = ACTION_NAMES.index("linear_velocity"), ACTION_NAMES.index("neck_pitch")


def partial(mode: ActionMode, normalized: bool = False, controls: tuple[str, ...] = ("neck_pitch",)) -> ActionAdapter:
    return ActionAdapter(statistics(), mode, normalized, controls=controls)


def test_the_space_has_the_controls_in_their_order() -> None:
    space = partial("hold", controls=("linear_velocity", "neck_pitch")).space
    np.testing.assert_array_equal(space.low, LOW[[SPEED, NECK]])
    np.testing.assert_array_equal(space.high, HIGH[[SPEED, NECK]])
    assert partial("chunk").space.shape == (17, 1)
    np.testing.assert_allclose(partial("delta").space.high, [1.7], atol=1e-6)
    assert partial("delta", normalized=True).space.high == 1


@pytest.mark.parametrize(("mode", "sent"), [("hold", MIDDLE[NECK] + 0.2), ("delta", 0.2)])
def test_what_is_not_controlled_stays_and_velocities_end(mode: ActionMode, sent: float) -> None:
    adapted = partial(mode).adapt([sent], MIDDLE)
    expected = MIDDLE.copy()
    expected[NECK] += 0.2
    expected[23:] = 0
    np.testing.assert_allclose(adapted.chunk[-1], expected, atol=1e-6)
    joints = [index for index in range(23) if index != NECK]
    np.testing.assert_allclose(adapted.chunk[:, joints], np.tile(MIDDLE[joints], (17, 1)), atol=1e-6)


def test_a_chunk_of_one_number() -> None:
    way = np.linspace(0, 0.5, 17)[:, None]
    adapted = partial("chunk", controls=("linear_velocity",)).adapt(way, MIDDLE)
    np.testing.assert_allclose(adapted.chunk[:, SPEED], way[:, 0], atol=1e-6)
    np.testing.assert_array_equal(adapted.chunk[:, :SPEED], np.tile(MIDDLE[:SPEED], (17, 1)))
    np.testing.assert_array_equal(adapted.chunk[:, SPEED + 1], np.zeros(17))


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ((), "controls must be 1 or more items or None, got"),
        (("neck_pitch", "neck_pitch"), "controls must be different names"),
        ("neck_pitch", "controls must be a sequence, not one text"),
    ],
)
def test_controls_that_are_none_are_refused(controls: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        EnvConfig(controls=controls)


def test_controls_that_the_robot_lacks_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"controls must be joints of EVE \(hip_yaw, .*\), got 'neck'"):
        partial("hold", controls=("neck",))
