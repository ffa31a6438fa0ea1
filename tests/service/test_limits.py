"""Limits of rates."""

from hwm_env.service.limits import ClientRates, RateLimit


def test_so_many_a_second() -> None:
    time_s = 0.0
    limit = RateLimit(60, lambda: time_s)
    for _ in range(3):
        assert all(limit.admits() for _ in range(60))
        assert not limit.admits()
        time_s += 1.01


def test_clients_are_counted_apart() -> None:
    rates = ClientRates(2, lambda: 0.0)
    assert [rates.admits("a") for _ in range(3)] == [True, True, False]
    assert rates.admits("b")


def test_many_clients_take_little_memory() -> None:
    rates = ClientRates(1, lambda: 0.0)
    for number in range(5000):
        rates.admits(str(number))
    assert len(rates._limits) == 1024
    assert not rates.admits("4999")
