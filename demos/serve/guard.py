"""Lets in only requests for a host that is known, and only from pages of its own; tells browsers what a page may do."""

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
"""Code with which a WebSocket is closed after a message that must not be (RFC 6455: policy violation)."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # The token is in the address.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([0-9a-z._-]+))(?::[0-9]+)?", re.IGNORECASE)
_SCHEMES: Final = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """Names and addresses under which browsers reach the server.

    Any page can have its name resolved to this machine (DNS rebinding) and then counts as the server's own; so names
    that nobody gave to the server are not known. No page can do that with an address.
    """

    names: frozenset[str]
    any_address: bool

    @classmethod
    def of(cls, listener: socket.socket, names: Collection[str] = ()) -> "KnownHosts":
        """What a listening socket is reached under: this machine's names, its addresses, and `names`."""
        address = listener.getsockname()[0]
        is_local = ipaddress.ip_address(address).is_loopback
        own = (*LOOPBACK, address) if is_local else (*LOOPBACK, address, socket.gethostname())
        any_address = ipaddress.ip_address(address).is_unspecified
        return cls(frozenset(name.lower() for name in (*own, *names)), any_address)

    def know(self, host: str) -> bool:
        """Whether a Host header, such as "localhost:8765" or "[::1]", names one of them."""
        parts = _HOST.fullmatch(host)
        if parts is None:
            return False
        name = (parts[1] or parts[2]).lower()
        return name in self.names or (self.any_address and _is_address(name))


class Guard:
    """An application behind the check of host and origin, on every route; all its answers have HEADERS.

    Args:
        app: what is guarded.
        hosts: what it is reached under.
    """

    def __init__(self, app: ASGIApp, hosts: KnownHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""

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
        if not self._hosts.know(host):
            return "this host is not known here: open the address that the server printed, or start it with --name HOST"
        # Other pages can reach this machine too; only browsers say where a request comes from.
        if origin is not None and origin != f"{_SCHEMES.get(scope['scheme'], scope['scheme'])}://{host}":
            return "only pages of this server may ask for this"
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
