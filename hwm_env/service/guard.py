"""Refuses requests for unknown hosts and from pages of other origins, and sends security headers."""

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

REFUSED: Final = 1008
"""Close code of a WebSocket after a policy violation (RFC 6455)."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # The address contains the token.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([0-9a-z._-]+))(?::[0-9]+)?", re.IGNORECASE)
_SCHEMES: Final = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """Names and addresses of the server.

    Any page can have its name resolved to this machine (DNS rebinding) and would then count as the server's own, so
    only names that were given to the server are known. No page can do that with an address.
    """

    names: frozenset[str]
    """Known names and addresses, in lower case."""
    any_address: bool
    """Whether every address is known."""

    @classmethod
    def of(cls, listener: socket.socket, names: Collection[str] = ()) -> "KnownHosts":
        """Returns the hosts of a listening socket: this machine's names, its addresses, and `names`."""
        address = listener.getsockname()[0]
        is_local = ipaddress.ip_address(address).is_loopback
        own = (*LOOPBACK, address) if is_local else (*LOOPBACK, address, socket.gethostname())
        any_address = ipaddress.ip_address(address).is_unspecified
        return cls(frozenset(name.lower() for name in (*own, *names)), any_address)

    def includes(self, host: str) -> bool:
        """Checks whether a Host header, such as "localhost:8765" or "[::1]", names a known host."""
        parts = _HOST.fullmatch(host)
        if parts is None:
            return False
        name = (parts[1] or parts[2]).lower()
        return name in self.names or (self.any_address and _is_address(name))


class Guard:
    """Checks host and origin of every request to an application, and adds HEADERS to all responses.

    Args:
        app: the application.
        hosts: known hosts.
    """

    def __init__(self, app: ASGIApp, hosts: KnownHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses a request, or passes it to the application."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        problem = self._problem(scope) if scope["type"] in ("http", "websocket") else None
        app = self._app
        if problem is not None:
            app = PlainTextResponse(problem, 403) if scope["type"] == "http" else WebSocketClose(REFUSED)
        await app(scope, receive, send_with_headers)

    def _problem(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._hosts.includes(host):
            return "this host is unknown; use the address that the server printed, or start it with --name HOST"
        # Pages of other servers can send requests to this machine; browsers name their origin.
        if origin is not None and origin != f"{_SCHEMES.get(scope['scheme'], scope['scheme'])}://{host}":
            return "only pages of this server may send this request"
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
