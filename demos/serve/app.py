"""The web application: a page, and the WebSocket over which a browser watches and drives."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from demos.serve.messages import MOST_A_SECOND, parse
from demos.serve.shared_drive import SharedDrive, Viewer
from hwm_env.errors import InvalidInputError
from hwm_env.service.guard import REFUSED, Guard, KnownHosts
from hwm_env.service.limits import RateLimit

STATIC: Final = Path(__file__).parent / "static"
FULL: Final = 1013
"""Close code of a WebSocket that may try again later (RFC 6455)."""
LONGEST_REASON_BYTES: Final = 123
"""Longest reason in a WebSocket's close frame."""


def make_app(shared: SharedDrive, token: str | None, hosts: KnownHosts) -> ASGIApp:
    """Makes the application.

    Args:
        shared: the drive.
        token: token that every connection must send; `None`: none.
        hosts: names of the server; requests for other hosts are refused.
    """

    def has_token(connection: HTTPConnection) -> bool:
        sent = connection.query_params.get("token", "")
        return token is None or hmac.compare_digest(sent.encode(), token.encode())

    async def page(request: HTTPConnection) -> Response:
        if not has_token(request):
            return PlainTextResponse(
                "wrong or missing token; open the address that the server printed", status_code=403
            )
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-store"})

    async def drive(socket: WebSocket) -> None:
        if not has_token(socket):
            await socket.close(REFUSED)
            return
        await socket.accept()
        try:
            viewer = shared.enter()
        except InvalidInputError as error:
            await _refuse(socket, FULL, error)
            return
        sending = asyncio.create_task(_send_news(socket, viewer))
        try:
            await _listen(socket, shared, viewer)
        finally:
            sending.cancel()
            shared.leave(viewer)

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        loop = asyncio.create_task(shared.run())
        yield
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop

    routes = [Route("/", page), WebSocketRoute("/drive", drive), Mount("/static", StaticFiles(directory=STATIC))]
    return Guard(Starlette(routes=routes, lifespan=running), hosts)


async def _listen(socket: WebSocket, shared: SharedDrive, viewer: Viewer) -> None:
    """Passes messages to the drive until the browser disconnects or sends an invalid message."""
    limit = RateLimit(MOST_A_SECOND)
    while True:
        received = await socket.receive()
        if received["type"] == "websocket.disconnect":
            return
        try:
            if not limit.admits():
                raise InvalidInputError(f"expected at most {MOST_A_SECOND} messages a second")
            if received.get("text") is None:
                raise InvalidInputError("expected text, got bytes")
            shared.obey(viewer, parse(received["text"]))
        except InvalidInputError as error:
            await _refuse(socket, REFUSED, error)
            return


async def _send_news(socket: WebSocket, viewer: Viewer) -> None:
    """Sends news until the browser disconnects; messages that it sent before are still received."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            for news in await viewer.news():
                if isinstance(news, bytes):
                    await socket.send_bytes(news)
                else:
                    await socket.send_text(news)


async def _refuse(socket: WebSocket, code: int, error: InvalidInputError) -> None:
    """Closes the socket with the reason, truncated to whole characters within the limit."""
    reason = str(error).encode(errors="backslashreplace")[:LONGEST_REASON_BYTES]
    await socket.close(code, reason.decode(errors="ignore"))
