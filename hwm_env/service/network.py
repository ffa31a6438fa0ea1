"""The socket that a server listens at, and its token."""

import ipaddress
import secrets
import socket

from hwm_env.errors import InvalidInputError


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens at an address.

    Raises:
        InvalidInputError: the address is not available.
    """
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Connections inherit it. Otherwise the second part of each answer waits 40 ms for the receipt of the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        raise InvalidInputError(
            f"cannot listen at {host}:{port} ({error}); choose another --port, 0 takes a free one"
        ) from error


def is_loopback(host: str) -> bool:
    """Checks whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def needed_token(host: str, token: str | None) -> str | None:
    """Returns the token that clients must send: the given one, or a random one if other machines can reach us."""
    return token or (None if is_loopback(host) else secrets.token_urlsafe(16))


def url_of(listener: socket.socket) -> str:
    """Returns the address of a listening socket, such as "http://127.0.0.1:8765/"."""
    host, port, *_ = listener.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
