"""Known hosts, by the address that the server listens at."""

import socket

import pytest

from hwm_env.service.guard import KnownHosts


def known(address: str, *names: str) -> KnownHosts:
    with socket.create_server((address, 0)) as listener:
        return KnownHosts.of(listener, names)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8765", "127.0.0.1", "127.0.0.1:9000", "[::1]:8765", "[::1]", "robot.lab:80"]
)
def test_this_machine_is_known(host: str) -> None:
    assert known("127.0.0.1", "Robot.Lab").includes(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", ":8765", "::1", "[localhost]", "evil.example", "localhost.evil.example", "evil.example/localhost"),
        *("localhost@evil.example", "evil.example@localhost", "localhost:", "localhost:80:80", "localhost:x"),
        *("localhost\n", "192.168.1.5", "0.0.0.0", "127.0.0.2", "[::2]", "robot.lab"),
    ],
)
def test_anything_else_is_not(host: str) -> None:
    assert not known("127.0.0.1").includes(host)


def test_who_listens_everywhere_knows_all_addresses_and_no_other_names() -> None:
    hosts = known("0.0.0.0")
    for host in ("192.168.1.5:8765", "[2001:db8::7]:8765", "localhost:8765", f"{socket.gethostname()}:8765"):
        assert hosts.includes(host)
    assert not hosts.includes("evil.example:8765")


def test_an_address_that_is_listened_at_is_known() -> None:
    hosts = known("127.0.0.2")
    assert hosts.includes("127.0.0.2:8765")
    assert not hosts.includes("127.0.0.3:8765")
