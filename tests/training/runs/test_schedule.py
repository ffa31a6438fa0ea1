import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwm_env.errors import InvalidInputError
from hwm_env.training.runs.schedule import Schedule

SCHEDULE = Schedule(steps=101, warmup_steps=10, hold_share=0.5, final_share=0.1)


def rate(step: int) -> float:
    return 2.0 * SCHEDULE.share_at(step)


def test_closed_form() -> None:
    assert rate(0) == pytest.approx(0.2)
    assert rate(4) == pytest.approx(1.0)
    assert rate(9) == rate(30) == rate(50) == pytest.approx(2.0)
    # Between 2 and 0.2, a quarter, half and three quarters of the way through the decay from step 50.5 to step 100.
    for share in (0.25, 0.5, 0.75):
        step = round(50.5 + share * 49.5)
        progress = (step - 50.5) / 49.5
        assert rate(step) == pytest.approx(1.1 + 0.9 * math.cos(math.pi * progress))
    assert rate(100) == pytest.approx(0.2)


@given(st.integers(1, 50), st.integers(0, 60), st.floats(0, 1), st.floats(0, 1))
def test_rises_then_falls_within_its_bounds(total: int, warmup: int, hold: float, final: float) -> None:
    schedule = Schedule(steps=total, warmup_steps=warmup, hold_share=hold, final_share=final)
    rates = [schedule.share_at(step) for step in range(total)]
    assert all(0 < r <= 1 for r in rates[:warmup])
    assert all(final - 1e-9 <= r <= 1 for r in rates[warmup:])
    assert rates[:warmup] == sorted(rates[:warmup])
    assert all(later <= earlier + 1e-12 for earlier, later in zip(rates[warmup:], rates[warmup + 1 :], strict=False))


def test_steps_and_shares_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="steps must be at least 1, got 0"):
        Schedule(steps=0)
    for name in ("hold_share", "final_share"):
        with pytest.raises(InvalidInputError, match=name):
            Schedule(**{name: 1.5})
